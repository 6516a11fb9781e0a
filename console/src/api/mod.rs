//! The admin API: the console for programs, under `/api/v1`, behind the same guard and the same sessions.
//!
//! INVARIANT: who uses it has signed in with a passkey in this console, and sends the session's CSRF token with everything
//! that changes something; there is no other key to it. An approval is given with a passkey's signature here too. What is
//! not in the description is refused, and no answer holds a secret.

mod agents;
mod approvals;
mod events;
mod policy;
mod push;
mod read;
mod receipts;
mod state;
mod words;

use std::sync::Arc;

use axum::Router;
use http::StatusCode;
use utoipa::{
    OpenApi,
    openapi::{
        Components, Content, ContentBuilder, InfoBuilder, OpenApiBuilder, Ref, RefOr,
        ResponseBuilder, SecurityRequirement,
        path::{Operation, PathItem},
        security::{ApiKey, ApiKeyValue, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    problem::{Problem, Told},
    site::Site,
};

/// The schema of every answer that is not what was asked for.
#[derive(OpenApi)]
#[openapi(components(schemas(words::ProblemShown)))]
struct Common;

/// Every route.
pub(crate) fn routes() -> Router<Arc<Site>> {
    let (router, _described) = described().split_for_parts();
    let inside = router.method_not_allowed_fallback(not_that_way);
    inside.route("/api/{*rest}", axum::routing::any(nothing_there))
}

fn described() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::with_openapi(Common::openapi())
        .routes(routes!(state::session))
        .routes(routes!(state::confirm))
        .routes(routes!(state::health))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::show))
        .routes(routes!(approvals::challenge))
        .routes(routes!(approvals::grant))
        .routes(routes!(approvals::deny))
        .routes(routes!(approvals::revoke))
        .routes(routes!(agents::list))
        .routes(routes!(agents::pause))
        .routes(routes!(agents::resume))
        .routes(routes!(state::budgets, state::set_budget))
        .routes(routes!(state::credentials))
        .routes(routes!(state::connect))
        .routes(routes!(state::disconnect))
        .routes(routes!(receipts::list))
        .routes(routes!(receipts::export))
        .routes(routes!(receipts::show))
        .routes(routes!(receipts::proof))
        .routes(routes!(policy::tools))
        .routes(routes!(policy::show))
        .routes(routes!(push::show, push::subscribe))
        .routes(routes!(push::forget))
        .routes(routes!(events::stream))
}

/// The description, OpenAPI 3.1, as it is checked in.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    let made = described().into_openapi();
    let info = InfoBuilder::new()
        .title("Exeat admin API")
        .version("1")
        .description(Some(ABOUT))
        .build();
    let mut api = OpenApiBuilder::from(made).info(info).build();
    let components = api.components.get_or_insert_with(Components::new);
    components.add_security_scheme(SESSION, cookie());
    components.add_security_scheme(CSRF, header());
    for item in api.paths.paths.values_mut() {
        complete(item);
    }
    let mut text = api.to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

const ABOUT: &str = "What the pages of the console do, for programs. Sign in there with a passkey; the session's cookie \
    is the only key. Requests that change something carry the header `exeat-csrf` (from `/api/v1/session`) and the `Origin` \
    of the console. Nothing here approves without a passkey's signature, and no answer holds a secret.";
const SESSION: &str = "session";
const CSRF: &str = "csrf";

fn cookie() -> SecurityScheme {
    let value = ApiKeyValue::with_description(
        "exeat",
        "set by signing in; `__Host-exeat` where the console is https",
    );
    SecurityScheme::ApiKey(ApiKey::Cookie(value))
}

fn header() -> SecurityScheme {
    let value = ApiKeyValue::with_description("exeat-csrf", "from `/api/v1/session`");
    SecurityScheme::ApiKey(ApiKey::Header(value))
}

/// What holds for every operation: who may use it, and how it says no.
fn complete(item: &mut PathItem) {
    let nobody: [&str; 0] = [];
    let session = SecurityRequirement::new(SESSION, nobody);
    for operation in [&mut item.get, &mut item.head].into_iter().flatten() {
        operation.security = Some(vec![session.clone()]);
        finish(operation);
    }
    let changing = [&mut item.post, &mut item.put, &mut item.delete];
    for operation in changing.into_iter().flatten() {
        operation.security = Some(vec![session.clone().add(CSRF, nobody)]);
        finish(operation);
    }
}

fn finish(operation: &mut Operation) {
    // The same short names are used under every tag.
    let tag = operation.tags.iter().flatten().next();
    if let (Some(tag), Some(name)) = (tag, &operation.operation_id) {
        operation.operation_id = Some(format!("{tag}_{name}"));
    }
    let schema = RefOr::Ref(Ref::from_schema_name("ProblemShown"));
    let content: Content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description("what was wrong, as problem details")
        .content("application/problem+json", content)
        .build();
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), RefOr::T(response));
}

async fn nothing_there() -> Told {
    Told(Problem::not_found("there is no such route in the API"))
}

async fn not_that_way() -> Told {
    Told(Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this route does not take that method",
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_that_is_checked_in_is_the_one_of_this_code() {
        let kept = include_str!("../../openapi.json");
        let hint = "cargo run -p exeat-console --example openapi > console/openapi.json";
        assert!(super::openapi().unwrap() == kept, "write it anew: {hint}");
    }
}
