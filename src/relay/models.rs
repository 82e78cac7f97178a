//! Which models may this token use?

use bytes::Bytes;
use http::StatusCode;

use super::answer::Answer;
use super::request::Caller;
use super::{Relay, refusal};
use crate::actors::tokens::Token;
use crate::protocol::{ErrorAnswer, Protocol, models};
use crate::routing::refusal::Refusal;
use crate::routing::snapshot::Snapshot;

impl Relay {
    /// Every model that the caller's token may ask for, open or not, so that the list does not flap.
    pub async fn list_models(&self, caller: &Caller, shape: Protocol) -> Answer {
        let listed = self.usable(caller).await.map(|(token, snapshot)| {
            let names = names(&token, &snapshot);
            models::list(shape, names.iter().map(String::as_str))
        });
        match listed {
            Ok(list) => Answer::json(StatusCode::OK, list),
            Err(error) => refusal::answer(error, shape, &caller.request_id),
        }
    }

    /// One model.
    pub async fn one_model(&self, caller: &Caller, shape: Protocol, model: &str) -> Answer {
        match self.find_model(caller, shape, model).await {
            Ok(one) => Answer::json(StatusCode::OK, one),
            Err(error) => refusal::answer(error, shape, &caller.request_id),
        }
    }

    /// A model that the snapshot lacks is asked of the database, as for a pick (R3).
    async fn find_model(&self, caller: &Caller, shape: Protocol, model: &str) -> Result<Bytes, ErrorAnswer> {
        let (token, _) = self.usable(caller).await?;
        let refused = |refusal: &Refusal| refusal::of_router(refusal, model);
        match self.routing.knows_model(&token.groups, model).await {
            Ok(true) if token.allows_model(model) => Ok(models::one(shape, model)),
            Ok(_) => Err(refused(&Refusal::ModelNotFound)),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    async fn usable(
        &self,
        caller: &Caller,
    ) -> Result<(std::sync::Arc<Token>, std::sync::Arc<Snapshot>), ErrorAnswer> {
        let token = self.admit(caller).await?;
        if !self.routing.is_ready() {
            return Err(refusal::of_router(&Refusal::RoutingUnavailable, ""));
        }
        Ok((token, self.routing.snapshot()))
    }
}

fn names(token: &Token, snapshot: &Snapshot) -> Vec<String> {
    let of_group = |group: &crate::routing::ids::GroupName| snapshot.models_of(group.as_str());
    let all = token.groups.iter().flat_map(of_group);
    all.filter(|model| token.allows_model(model.as_str()))
        .map(|model| model.as_str().to_owned())
        .collect()
}
