//! `exeat token`: agent tokens, printed once.

use super::Place;
use crate::{
    args::Token,
    socket::{Request, TokenMade, TokenOrder},
    ui::{self, Ending, Output},
};

pub(super) fn token(place: &Place, order: Token) -> anyhow::Result<Ending> {
    let Token::Create {
        agent,
        life,
        listener,
    } = order;
    let listener = listener.map(|address| address.to_string());
    let request = Request::TokenCreate(TokenOrder {
        agent,
        life_secs: life.as_secs(),
        listener,
    });
    let made: TokenMade = place.gate()?.one(&request, &[])?;
    if place.output == Output::Text {
        ui::say(format_args!(
            "for {}, until {}; family {}",
            made.agent, made.expires, made.family
        ));
    }
    place.print(&made, || made.token.clone())?;
    Ok(Ending::Done)
}
