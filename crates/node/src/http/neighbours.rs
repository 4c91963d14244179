//! Neighbours of the node: seen, connected, disconnected.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use levada_overlay::Neighbour;
use levada_overlay::node::view::NeighbourView;
use levada_overlay::record::ADDRESS_LEN_MAX;
use serde::{Deserialize, Serialize};

use super::Rooms;
use super::api::Problem;
use super::body::Body;
use super::operator::{MayChange, MayLook};
use crate::journal::{Kind, Note};

/// Answer of `/api/v1/neighbours`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Neighbours {
    /// Name of the node that answers.
    pub node: String,
    /// By name.
    pub neighbours: Vec<NeighbourView>,
}

/// A node to connect to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meet {
    /// Where it accepts links, `host:port`.
    pub address: String,
}

/// Who was found there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Met {
    /// Its name, by its certificate.
    pub name: String,
    /// The address.
    pub address: String,
}

pub(super) async fn list(_: MayLook, State(rooms): State<Rooms>) -> Result<Json<Neighbours>, Problem> {
    let view = rooms.lookout.view(&rooms.node).await?;
    Ok(Json(Neighbours { node: view.node, neighbours: view.neighbours }))
}

pub(super) async fn connect(
    _: MayChange,
    State(rooms): State<Rooms>,
    Body(Meet { address }): Body<Meet>,
) -> Result<Json<Met>, Problem> {
    let node = &rooms.node;
    if address.len() > ADDRESS_LEN_MAX || address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())
    {
        return Err(Problem::bad_request(format!("{address:?} is no HOST:PORT")));
    }
    let name = node.identify(address.clone()).await?.map_err(|reason| {
        Problem::unreachable(format!(
            "no node of this cluster is found there: {reason}; see its --listen and --advertise"
        ))
    })?;
    if name == node.name() {
        return Err(Problem::bad_request(format!("{address} is node {name} itself")));
    }
    node.connect(Neighbour { name: name.clone(), addresses: vec![address.clone()] }).await?;
    let text = format!("neighbour {name} at {address} was added by an operator");
    node.journal().note(Note::new(Kind::NeighbourAdded, text).of_node(name.as_str()));
    Ok(Json(Met { name, address }))
}

pub(super) async fn disconnect(
    _: MayChange,
    State(rooms): State<Rooms>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let node = &rooms.node;
    let view = node.view().await?;
    if !view.neighbours.iter().any(|neighbour| neighbour.name == name) {
        let names: Vec<&str> = view.neighbours.iter().map(|neighbour| neighbour.name.as_str()).take(20).collect();
        let there_are = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        return Err(Problem::not_found(format!(
            "\"{name}\" is no neighbour of node {}; its neighbours: {there_are}",
            view.node
        )));
    }
    node.disconnect(name.clone()).await?;
    let text = format!("neighbour {name} was removed by an operator");
    node.journal().note(Note::new(Kind::NeighbourRemoved, text).of_node(name));
    Ok(StatusCode::NO_CONTENT)
}
