//! What `levada top` draws.

use std::time::{SystemTime, UNIX_EPOCH};

use levada_node::http::StreamEntry;
use levada_node::journal::{Entry, Kind};
use levada_overlay::node::view::{NodeView, View};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, Tabs};

use super::{Desk, Seen, TABS, Tab};
use crate::control;
use crate::query::{LINK_HEADS, dash, link, mbps, ms};
use levada_node::http::Pop;

/// Lines of the log below the tables, where there is room for them.
const LOG_LINES: u16 = 6;
/// Lower screens show the table only.
const HEIGHT_WITH_LOG: u16 = 20;

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

pub(super) fn screen(frame: &mut Frame<'_>, url: &str, seen: &Seen, desk: &mut Desk) {
    let tab = TABS[desk.tab].0;
    let log = if frame.area().height >= HEIGHT_WITH_LOG && tab != Tab::Events { LOG_LINES + 1 } else { 0 };
    let parts = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(log),
        Constraint::Length(1),
    ];
    let [head, tabs, table, events, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(headline(url, seen), head);
    let titles = TABS.iter().enumerate().map(|(at, (_, title))| format!("{} {title}", at + 1));
    frame.render_widget(Tabs::new(titles).select(desk.tab).highlight_style(Style::new().reversed()).divider(" "), tabs);
    rows(frame, table, seen, tab, desk);
    if log > 0 {
        let lines: Vec<Line<'_>> = seen.entries.iter().rev().take(LOG_LINES.into()).map(line).collect();
        frame.render_widget(
            Paragraph::new(lines).block(Block::new().title(Span::styled("Newest events", HEAD))),
            events,
        );
    }
    let keys = Line::from(" 1-6, Tab tables   ↑ ↓ PgUp PgDn Home End rows   q quit").style(DIM);
    frame.render_widget(keys, foot);
}

fn headline<'a>(url: &'a str, seen: &Seen) -> Line<'a> {
    if let Some(failure) = &seen.failure {
        return Line::styled(format!("{failure}; trying again"), Style::new().fg(Color::Red));
    }
    let Some(status) = &seen.status else { return Line::from(url) };
    let up = duration(status.uptime_s);
    let load = seen.map.as_ref().map(|map| &map.load);
    let egress = load.map_or_else(dash, |load| mbps(Some(load.egress_bps)));
    let limit =
        load.and_then(|load| load.egress_max_bps).map_or_else(String::new, |bps| format!(" of {}", mbps(Some(bps))));
    let mut spans = vec![
        Span::styled(format!("{} ", status.node), HEAD),
        Span::raw(format!(
            "{url}  up {up}  viewers {}  children {}",
            status.viewers,
            load.map_or(0, |load| load.children)
        )),
        Span::raw(format!("  sends {egress}{limit}  switches {}", status.switches)),
    ];
    if status.objects_lost > 0 {
        spans.push(Span::styled(format!("  lost {}", status.objects_lost), Style::new().fg(Color::Red)));
    }
    Line::from(spans)
}

fn rows(frame: &mut Frame<'_>, area: Rect, seen: &Seen, tab: Tab, desk: &mut Desk) {
    let (header, widths, rows): (&[&str], &[u16], Vec<Row<'static>>) = match tab {
        Tab::Streams => (
            &[
                "STREAM", "HERE", "ORIGIN", "PARENT", "BACKUP", "CHILDREN", "VIEWERS", "BITRATE", "GROUP", "LATENCY",
                "AGE",
            ],
            &[20, 9, 12, 12, 12, 9, 7, 13, 8, 9, 9],
            seen.streams.iter().flat_map(|streams| streams.streams.iter().map(stream)).collect(),
        ),
        Tab::Neighbours => (
            &["NEIGHBOUR", "LINK", "CAME BY", "RTT", "JITTER", "LOSS", "SENT", "RECEIVED", "WHY NOT"],
            &[16, 6, 9, 10, 10, 8, 13, 13, 40],
            seen.map
                .iter()
                .flat_map(|map| &map.neighbours)
                .map(|one| {
                    let row = Row::new(control::row(one));
                    if one.up { row } else { row.style(Style::new().fg(Color::Red)) }
                })
                .collect(),
        ),
        Tab::Links => (
            &LINK_HEADS,
            &[16, 16, 10, 10, 8, 13],
            seen.map.iter().flat_map(|map| &map.links).map(|one| Row::new(link(one))).collect(),
        ),
        Tab::Nodes => (
            &["NODE", "ROLES", "REACHED", "LINKS", "BY", "HTTP"],
            &[16, 18, 7, 5, 22, 40],
            seen.map.iter().flat_map(|map| map.nodes.iter().map(|one| node(one, map))).collect(),
        ),
        Tab::Pops => (
            &["POP", "VIEWERS", "LOAD", "IN THE MESH", "URL"],
            &[16, 13, 6, 11, 40],
            seen.pops.iter().flat_map(|pops| pops.pops.iter().map(pop)).collect(),
        ),
        Tab::Events => (&["AGO", "KIND", "WHAT"], &[9, 17, 200], events(seen)),
    };
    if rows.is_empty() {
        frame.render_widget(Line::styled(nothing(tab, seen), DIM), area);
        return;
    }
    let widths = widths.iter().map(|width| Constraint::Max(*width));
    let table = Table::new(rows, widths)
        .header(Row::new(header.iter().map(|cell| Cell::from((*cell).to_owned()))).style(HEAD))
        .column_spacing(2)
        .row_highlight_style(Style::new().reversed());
    frame.render_stateful_widget(table, area, &mut desk.rows[desk.tab]);
}

fn nothing(tab: Tab, seen: &Seen) -> &'static str {
    match tab {
        Tab::Streams => "no streams yet; publish one with: levada publish FILE",
        Tab::Neighbours => "no neighbours; add one with: levada neighbours add HOST:PORT",
        Tab::Links => "no links are known: nobody is connected",
        Tab::Nodes => "the node knows of nobody, not even itself",
        Tab::Pops if seen.pops.is_none() => "the node does not tell of PoPs",
        Tab::Pops => "no node of the mesh serves HTTP",
        Tab::Events => "nothing has happened yet",
    }
}

fn stream(stream: &StreamEntry) -> Row<'static> {
    let list = |names: &[String]| if names.is_empty() { dash() } else { names.join(",") };
    let time = |ms: Option<i64>| ms.map_or_else(dash, |ms| format!("{ms} ms"));
    let colour = match stream.state.as_str() {
        _ if stream.waiting => Style::new().fg(Color::Red),
        "published" => Style::new().fg(Color::Cyan),
        "watched" => Style::new().fg(Color::Green),
        "passed" => Style::new().fg(Color::Yellow),
        _ => DIM,
    };
    let here = if stream.waiting { "waiting" } else { stream.state.as_str() };
    Row::new([
        stream.name.clone(),
        here.to_owned(),
        list(&stream.origins),
        stream.parent.clone().unwrap_or_else(dash),
        stream.backup.clone().unwrap_or_else(dash),
        stream.children.len().to_string(),
        stream.viewers.to_string(),
        mbps(stream.bitrate_bps),
        time(stream.group_ms.map(|ms| ms as i64)),
        time(stream.latency_ms),
        time(stream.newest_age_ms.map(|ms| ms as i64)),
    ])
    .style(colour)
}

fn node(node: &NodeView, map: &View) -> Row<'static> {
    let roles: Vec<String> = node.roles.iter().map(ToString::to_string).collect();
    let links = map.links.iter().filter(|link| link.from == node.name).count();
    let from_here = map.links.iter().find(|link| link.from == map.node && link.to == node.name);
    let by = match from_here {
        _ if node.name == map.node => "this node".to_owned(),
        Some(link) => format!("link of {}", ms(Some(link.rtt_us.into()))),
        None if node.reachable => "others".to_owned(),
        None => dash(),
    };
    let row = Row::new([
        node.name.clone(),
        roles.join(","),
        if node.reachable { "yes" } else { "no" }.to_owned(),
        links.to_string(),
        by,
        node.http.clone().unwrap_or_else(dash),
    ]);
    if node.reachable { row } else { row.style(Style::new().fg(Color::Red)) }
}

fn pop(pop: &Pop) -> Row<'static> {
    Row::new([
        pop.name.clone(),
        pop.viewers.map_or_else(dash, |viewers| viewers.to_string()),
        format!("{:.0} %", pop.load * 100.0),
        if pop.reachable { "yes" } else { "no" }.to_owned(),
        pop.http.clone(),
    ])
}

/// The newest first, with a mark where some are missing between two: the node keeps only so many, and none of its last life.
fn events(seen: &Seen) -> Vec<Row<'static>> {
    let older = seen.entries.iter().rev().skip(1).map(Some).chain([None]);
    let with_gap = |(one, older): (&Entry, Option<&Entry>)| {
        let gap = || Row::new(["", "", "what happened here is no longer kept"]).style(DIM);
        let is_gap = older.is_some_and(|older| one.id != older.id + 1);
        [Some(entry(one)), is_gap.then(gap)].into_iter().flatten()
    };
    seen.entries.iter().rev().zip(older).flat_map(with_gap).collect()
}

fn entry(entry: &Entry) -> Row<'static> {
    let kind = serde_json::to_value(entry.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().replace('_', " ");
    Row::new([ago(entry.at_ms), kind, entry.text.clone()]).style(colour(entry.kind))
}

fn line(entry: &Entry) -> Line<'static> {
    Line::styled(format!("{:>9}  {}", ago(entry.at_ms), entry.text), colour(entry.kind))
}

fn colour(kind: Kind) -> Style {
    match kind {
        Kind::LinkDown | Kind::NodeDown | Kind::StreamGone | Kind::Waiting => Style::new().fg(Color::Red),
        Kind::LinkUp | Kind::NodeUp | Kind::StreamNew => Style::new().fg(Color::Green),
        Kind::Parent | Kind::Suspected | Kind::Adopting => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn ago(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    format!("{} ago", duration(now.saturating_sub(at_ms) / 1_000))
}

/// Seconds, in the unit in which they have one to three digits.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds / 60),
        6_000..=359_999 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
