//! Credentials that a person grants: begun, finished, shown and given back.
//!
//! The gate asks the issuer and keeps what it grants; a client of the socket only learns what to open and how it ended.

use std::{sync::Arc, time::Duration};

use exeat_custody::{
    Begun, Connection, Custody, Issuer, Keep, NotIssued, Pending, Standing, Way, Work,
};
use exeat_ledger::{Change, CredentialChange, Record};
use exeat_types::CredentialId;
use tokio::{runtime::Handle, time::timeout};

use super::{Desk, landing::Place};
use crate::socket::{
    ConnectStep, ConnectionEntry, ConnectionQuery, DisconnectOrder, Failure, Lines,
};

/// What is asked of an issuer, on a thread that may block.
enum Order {
    /// Begin, with the place that the browser comes back to and scopes besides those that are declared.
    Begin(Option<String>, Vec<String>),
    /// Go on with what a browser brought.
    Land(Pending, String),
    /// Go on when a person has typed the code.
    Wait(Pending),
    /// Whether it still holds.
    Ask,
    /// Give it back.
    Revoke,
}

/// What came of an order.
enum Done {
    Begun(Begun),
    Connected(Connection),
    Asked(Standing),
    Revoked,
}

impl Desk {
    /// Has a person grant a credential, and says on the way what they have to do.
    pub(super) async fn connected(
        &self,
        id: CredentialId,
        scopes: Vec<String>,
        lines: &Lines,
    ) -> Result<(), Failure> {
        let issuer = self.issuer(&id).await?;
        let way = issuer.connects().map(exeat_custody::Connect::way);
        let way = way.ok_or_else(|| not_personal(&id))?;
        let place = match &way {
            Way::Browser(landing) => Some(Place::bind(landing).await.map_err(|problem| {
                Failure::new(format!("cannot listen for the browser: {problem}"))
            })?),
            Way::Code => None,
        };
        // SECURITY: what a server said is lacking is shown and never asked for by itself; who connects names it.
        let order = Order::Begin(place.as_ref().map(Place::url), scopes);
        let Done::Begun(begun) = self.carry_out(&issuer, &id, order).await? else {
            return Err(out_of_step());
        };
        let step = ConnectStep::Visit {
            url: begun.url,
            code: begun.code,
            whole_url: begun.whole_url,
            scopes: begun.scopes,
        };
        say(lines, &step).await?;
        let ended = match place {
            None => {
                self.carry_out(&issuer, &id, Order::Wait(begun.pending))
                    .await
            }
            Some(place) => {
                self.landed(&issuer, &id, &place, (begun.pending, begun.within))
                    .await
            }
        };
        let Done::Connected(connection) = ended? else {
            return Err(out_of_step());
        };
        self.note(&id, Change::Created).await?;
        let entry = self.entry_of(&id, Some(&connection), None);
        say(lines, &ConnectStep::Connected(entry)).await
    }

    /// Waits for the browser and goes on with what it brings.
    async fn landed(
        &self,
        issuer: &Arc<dyn Issuer>,
        id: &CredentialId,
        place: &Place,
        (pending, within): (Pending, Duration),
    ) -> Result<Done, Failure> {
        let browser = timeout(within, place.browser(&pending)).await;
        let browser = browser.map_err(|_late| Failure::new("no browser came back in time"))?;
        let order = Order::Land(pending, browser.query.clone());
        let ended = self.carry_out(issuer, id, order).await;
        let told = ended
            .as_ref()
            .map(|_| ())
            .map_err(|failure| failure.message.as_str());
        browser.tell(told).await;
        ended
    }

    /// Gives a credential back at its issuer and forgets it.
    pub(super) async fn disconnected(
        &self,
        order: DisconnectOrder,
    ) -> Result<ConnectionEntry, Failure> {
        let DisconnectOrder {
            credential: id,
            forget,
        } = order;
        let issuer = self.issuer(&id).await?;
        let connects = issuer.connects().ok_or_else(|| not_personal(&id))?;
        let keep = self.state.notes();
        let before = connects
            .connection(&*keep)
            .map_err(|why| failed(&id, &why))?;
        let revoked = self.carry_out(&issuer, &id, Order::Revoke).await;
        match revoked {
            Ok(_) => {}
            Err(failure) if !forget => {
                return Err(failure.help("`--forget` forgets it here all the same"));
            }
            Err(_) => connects.forget(&*keep).map_err(anyhow::Error::new)?,
        }
        self.note(&id, Change::Revoked).await?;
        Ok(self.entry_of(&id, before.as_ref(), None))
    }

    /// Every credential that a person grants, and what became of it.
    pub(super) async fn connected_all(
        &self,
        query: ConnectionQuery,
    ) -> Result<Vec<ConnectionEntry>, Failure> {
        let custody = self.custody().await?;
        let keep = self.state.notes();
        let mut entries = Vec::new();
        for (spec, _version) in custody.credentials() {
            let Some(issuer) = custody.issuer(&spec.id) else {
                continue;
            };
            let Some(connects) = issuer.connects() else {
                continue;
            };
            let connection = connects
                .connection(&*keep)
                .map_err(|why| failed(&spec.id, &why))?;
            let standing = match &connection {
                Some(connection) if query.ask && connection.dead.is_none() => {
                    match self.carry_out(&issuer, &spec.id, Order::Ask).await? {
                        Done::Asked(standing) => Some(standing.active),
                        Done::Begun(_) | Done::Connected(_) | Done::Revoked => None,
                    }
                }
                Some(_) | None => None,
            };
            entries.push(self.entry_of(&spec.id, connection.as_ref(), standing));
        }
        Ok(entries)
    }

    fn entry_of(
        &self,
        id: &CredentialId,
        connection: Option<&Connection>,
        active: Option<bool>,
    ) -> ConnectionEntry {
        let now = self.state.clock().now();
        let state = match connection {
            None => "absent",
            Some(connection) if connection.dead.is_some() => "dead",
            Some(_) if active == Some(false) => "revoked",
            Some(connection)
                if !connection.renews && connection.expires.is_some_and(|at| at <= now) =>
            {
                "ended"
            }
            Some(_) => "live",
        };
        ConnectionEntry {
            credential: id.clone(),
            state: state.to_owned(),
            issuer: connection.map(|it| it.issuer.clone()).unwrap_or_default(),
            scopes: connection.map(|it| it.scopes.clone()).unwrap_or_default(),
            wanted: self.wanted(id),
            obtained: connection.map(|it| it.obtained),
            expires: connection.and_then(|it| it.expires),
            renews: connection.is_some_and(|it| it.renews),
            bound: connection.is_some_and(|it| it.bound),
            active,
        }
    }

    /// Scopes that servers asked for since.
    fn wanted(&self, id: &CredentialId) -> Vec<String> {
        let running = self.running.as_ref();
        running.map_or_else(Vec::new, |running| running.gate.wanted_scopes(id))
    }

    async fn custody(&self) -> Result<Arc<Custody>, Failure> {
        if let Some(running) = &self.running {
            return Ok(Arc::clone(&running.gate.rules().custody));
        }
        let none =
            || Failure::new("there is no configuration").help("`exeat init` writes a first one");
        let settings = self.state.settings().ok_or_else(none)?;
        Ok(self.state.rules(&settings).await?.custody)
    }

    async fn issuer(&self, id: &CredentialId) -> Result<Arc<dyn Issuer>, Failure> {
        let custody = self.custody().await?;
        if custody.describe(id).is_none() {
            return Err(
                Failure::new(format!("there is no credential `{id}` that can be used"))
                    .help("`exeat check` shows what is wrong with the configuration"),
            );
        }
        custody.issuer(id).ok_or_else(|| not_personal(id))
    }

    /// Has an issuer do something on a thread that may block, alone for its credential, and to the end even if the client
    /// goes.
    async fn carry_out(
        &self,
        issuer: &Arc<dyn Issuer>,
        id: &CredentialId,
        order: Order,
    ) -> Result<Done, Failure> {
        // A person takes minutes; meanwhile a token of the grant before may be renewed, and the gate be replaced.
        let brief = !matches!(order, Order::Wait(_));
        let _turn = if brief {
            Some(self.turn().await?)
        } else {
            None
        };
        let alone = match &self.running {
            Some(running) if brief => Some(running.gate.alone(id).await),
            Some(_) | None => None,
        };
        let changes = !matches!(order, Order::Begin(..) | Order::Ask);
        let gate = self.running.as_ref().filter(|_| changes);
        let (gate, name) = (gate.map(|running| Arc::clone(&running.gate)), id.clone());
        let outside = Arc::clone(self.state.outbound());
        let keep: Arc<dyn Keep> = self.state.notes();
        let (issuer, now) = (Arc::clone(issuer), self.state.clock().now());
        let handle = Handle::current();
        let worked = tokio::task::spawn_blocking(move || {
            let work = Work {
                outside: &*outside,
                keep: &*keep,
                now,
                spent: None,
            };
            let done = handle.block_on(ordered(&*issuer, order, work));
            if let Some(gate) = gate.filter(|_| done.is_ok()) {
                gate.forget_tokens(&name);
            }
            drop(alone);
            done
        });
        let done = worked.await.map_err(anyhow::Error::new)?;
        done.map_err(|why| failed(id, &why))
    }

    /// Notes it in the ledger.
    async fn note(&self, id: &CredentialId, change: Change) -> Result<(), Failure> {
        let record = Record::CredentialChange(CredentialChange {
            change,
            credential: id.clone(),
            version: 1,
        });
        let durable = self.state.ledger().append(&record);
        durable.done().await.map_err(anyhow::Error::new)?;
        Ok(())
    }
}

async fn ordered(issuer: &dyn Issuer, order: Order, work: Work<'_>) -> Result<Done, NotIssued> {
    let Some(connects) = issuer.connects() else {
        return Err(NotIssued::Absent);
    };
    match order {
        Order::Begin(landing, wanted) => {
            let begun = connects.begin(landing.as_deref(), &wanted, work).await;
            begun.map(Done::Begun)
        }
        Order::Land(pending, query) => connects
            .land(pending, &query, work)
            .await
            .map(Done::Connected),
        Order::Wait(pending) => connects.wait(pending, work).await.map(Done::Connected),
        Order::Ask => connects.ask(work).await.map(Done::Asked),
        Order::Revoke => issuer.revoke(work).await.map(|()| Done::Revoked),
    }
}

async fn say(lines: &Lines, step: &ConnectStep) -> Result<(), Failure> {
    let line = serde_json::to_value(step).map_err(anyhow::Error::new)?;
    let sent = lines.send(line).await;
    sent.map_err(|gone| Failure::new(gone.to_string()))
}

fn not_personal(id: &CredentialId) -> Failure {
    Failure::new(format!("credential `{id}` is not one that a person grants"))
        .help("its `grant` is neither `authorization-code` nor `device`")
}

fn failed(id: &CredentialId, why: &NotIssued) -> Failure {
    let failure = Failure::new(format!("credential `{id}`: {why}"));
    if *why == NotIssued::Absent {
        return failure.help(format!("`exeat connect {id}` has it granted"));
    }
    failure
}

fn out_of_step() -> Failure {
    Failure::new("the issuer answered out of step")
}
