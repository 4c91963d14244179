//! What is expected of a network, whatever it is made of.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use levada_lab::net::{Change, Layout, MODE_VARIABLE, Mode, NetError, Network};
use levada_sim::Impairment;

use crate::node::{BUNDLE, POURED, ROLE};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World<'a> {
    pub(crate) mode: Mode,
    /// A listener of the host.
    pub(crate) listener: TcpListener,
    /// A process on the host.
    pub(crate) visitor: &'a mut Player,
}

/// A test, and its name.
pub(crate) type Case = (&'static str, fn(&mut World<'_>));

/// What must hold in namespaces and on loopback.
pub(crate) const EVERYWHERE: &[Case] = &[
    ("delay_is_added_in_both_directions", delay_is_added_in_both_directions),
    ("loss_is_seen_and_counted", loss_is_seen_and_counted),
    ("a_cut_holds_until_it_is_healed", a_cut_holds_until_it_is_healed),
    ("a_cut_in_one_direction_lets_the_other_pass", a_cut_in_one_direction_lets_the_other_pass),
    ("jitter_keeps_order_unless_asked_otherwise", jitter_keeps_order_unless_asked_otherwise),
    ("a_rate_makes_packets_wait_and_a_full_queue_drops_them", a_rate_makes_packets_wait_and_a_full_queue_drops_them),
    ("what_waits_leaves_as_soon_as_a_link_is_released", what_waits_leaves_as_soon_as_a_link_is_released),
    ("pairs_without_a_link_are_routed_past_the_dead", pairs_without_a_link_are_routed_past_the_dead),
    ("bundles_of_datagrams_are_lost_one_by_one", bundles_of_datagrams_are_lost_one_by_one),
    ("islands_stay_apart", islands_stay_apart),
    ("two_nodes_talk_to_a_third_at_once", two_nodes_talk_to_a_third_at_once),
    ("a_node_is_reached_beside_its_links", a_node_is_reached_beside_its_links),
    ("the_host_sees_what_is_exposed", the_host_sees_what_is_exposed),
    ("children_inherit_no_descriptors", children_inherit_no_descriptors),
    ("children_die_with_the_network", children_die_with_the_network),
    ("children_die_with_a_lab_that_is_killed", children_die_with_a_lab_that_is_killed),
];

/// What proxies for UDP do not promise.
pub(crate) const IN_NAMESPACES: &[Case] =
    &[("bundles_of_tcp_come_whole_through_any_link", bundles_of_tcp_come_whole_through_any_link)];

impl World<'_> {
    fn open(&self, nodes: &[&str], links: &[(&str, &str, &str)]) -> Network {
        let link = |(a, b, change): &(&str, &str, &str)| ((*a).to_owned(), (*b).to_owned(), impairment(change));
        let nodes = nodes.iter().map(|name| (*name).to_owned()).collect();
        let layout = Layout { nodes, links: links.iter().map(link).collect(), seed: 7 };
        Network::open(&layout, self.mode).unwrap()
    }
}

fn impairment(change: &str) -> Impairment {
    let mut impairment = Impairment::default();
    impairment.change(change).unwrap();
    impairment
}

fn role(words: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, words).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A process of a node, which is this program in a role.
pub(crate) struct Player {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Player {
    /// A process where this one is.
    pub(crate) fn outside() -> Self {
        Self::of(role("outside").spawn().unwrap())
    }

    fn start(network: &Network, node: &str, words: &str) -> Self {
        Self::of(network.spawn(node, role(words)).unwrap())
    }

    fn of(mut child: Child) -> Self {
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn echo(network: &Network, node: &str) -> Self {
        let mut player = Self::start(network, node, &format!("echo {}", network.bind(node).unwrap()));
        assert_eq!(player.line(), "ready");
        player
    }

    fn asker(network: &Network, node: &str) -> Self {
        let mut player = Self::start(network, node, &format!("ask {}", network.bind(node).unwrap()));
        assert_eq!(player.line(), "ready");
        player
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends `count` datagrams to a node that echoes; number and round trip in microseconds of those that came back.
    fn ask(&mut self, network: &Network, from: &str, to: &str, count: u32) -> Vec<(u32, u64)> {
        self.begin_to_ask(network, from, to, count);
        self.answers()
    }

    fn begin_to_ask(&mut self, network: &Network, from: &str, to: &str, count: u32) {
        writeln!(self.input, "{} {count} 200", network.address(from, to).unwrap()).unwrap();
    }

    fn answers(&mut self) -> Vec<(u32, u64)> {
        let line = self.line();
        let pair = |text: &str| {
            let (number, micros) = text.split_once(':').unwrap();
            (number.parse().unwrap(), micros.parse().unwrap())
        };
        line.split_whitespace().map(pair).collect()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn least(came: &[(u32, u64)]) -> u64 {
    came.iter().map(|(_, micros)| *micros).min().expect("nothing came back")
}

fn delay_is_added_in_both_directions(world: &mut World<'_>) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=20ms")]);
    let _echo = Player::echo(&network, "b");
    let mut asker = Player::asker(&network, "a");
    let came = asker.ask(&network, "a", "b", 20);
    assert_eq!(came.len(), 20);
    assert!(least(&came) >= 40_000, "{}", least(&came));
    network.change("b", "a", Change::Impair(impairment("delay=100ms"))).unwrap();
    assert!(least(&asker.ask(&network, "a", "b", 20)) >= 120_000);
    let counters = network.counters("a", "b").unwrap();
    // 200 bytes and the headers of UDP and IP; the kernel may have sent some of its own.
    assert!(counters.packets >= 40 && counters.bytes >= 40 * 228, "{counters:?}");
}

fn loss_is_seen_and_counted(world: &mut World<'_>) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms loss=10%")]);
    network.change("b", "a", Change::Impair(impairment("delay=1ms"))).unwrap();
    let _echo = Player::echo(&network, "b");
    let came = Player::asker(&network, "a").ask(&network, "a", "b", 2_000);
    let counters = network.counters("a", "b").unwrap();
    // 2,000 at 10 %: 200, with a standard deviation of 13.
    assert!((140..=260).contains(&counters.lost), "{counters:?}");
    assert_eq!(counters.packets, counters.lost + counters.delivered);
    assert!((1_740..=1_860).contains(&came.len()), "{}", came.len());
}

fn a_cut_holds_until_it_is_healed(world: &mut World<'_>) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms")]);
    let _echo = Player::echo(&network, "b");
    let mut asker = Player::asker(&network, "a");
    assert_eq!(asker.ask(&network, "a", "b", 10).len(), 10);
    for (from, to) in [("a", "b"), ("b", "a")] {
        network.change(from, to, Change::Cut).unwrap();
    }
    assert_eq!(asker.ask(&network, "a", "b", 10).len(), 0);
    assert!(network.counters("a", "b").unwrap().cut >= 10);
    for (from, to) in [("a", "b"), ("b", "a")] {
        network.change(from, to, Change::Heal).unwrap();
    }
    assert_eq!(asker.ask(&network, "a", "b", 10).len(), 10);
}

fn a_cut_in_one_direction_lets_the_other_pass(world: &mut World<'_>) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms")]);
    let _echo = Player::echo(&network, "b");
    network.change("b", "a", Change::Cut).unwrap();
    assert_eq!(Player::asker(&network, "a").ask(&network, "a", "b", 10).len(), 0);
    let (there, back) = (network.counters("a", "b").unwrap(), network.counters("b", "a").unwrap());
    assert!(there.delivered >= 10 && there.cut == 0, "{there:?}");
    assert!(back.delivered == 0 && back.cut >= 10, "{back:?}");
}

fn jitter_keeps_order_unless_asked_otherwise(world: &mut World<'_>) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=2ms jitter=20ms")]);
    let _echo = Player::echo(&network, "b");
    let mut asker = Player::asker(&network, "a");
    let disordered = |came: &[(u32, u64)]| came.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
    let came = asker.ask(&network, "a", "b", 300);
    assert_eq!((came.len(), disordered(&came)), (300, 0));
    network.change("a", "b", Change::Impair(impairment("delay=2ms jitter=20ms reorder=true"))).unwrap();
    let came = asker.ask(&network, "a", "b", 300);
    assert_eq!(came.len(), 300);
    assert!(disordered(&came) > 10, "{}", disordered(&came));
}

fn a_rate_makes_packets_wait_and_a_full_queue_drops_them(world: &mut World<'_>) {
    // 228 bytes at 200 kbit/s take 9 ms; ten of them fit into the queue.
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms rate=200kbit/s queue=2.4kB")]);
    network.change("b", "a", Change::Impair(impairment("delay=1ms"))).unwrap();
    let _echo = Player::echo(&network, "b");
    let came = Player::asker(&network, "a").ask(&network, "a", "b", 100);
    let counters = network.counters("a", "b").unwrap();
    assert!(counters.dropped > 10 && came.len() < 90, "{counters:?}");
    assert!(came.iter().any(|(_, micros)| *micros > 60_000), "{came:?}");
}

fn what_waits_leaves_as_soon_as_a_link_is_released(world: &mut World<'_>) {
    // 228 bytes at 9.12 kbit/s take 200 ms: fifty of them ten seconds.
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms rate=9.12kbit/s queue=20kB")]);
    network.change("b", "a", Change::Impair(impairment("delay=1ms"))).unwrap();
    let _echo = Player::echo(&network, "b");
    let mut asker = Player::asker(&network, "a");
    asker.begin_to_ask(&network, "a", "b", 50);
    let deadline = Instant::now() + PATIENCE;
    while network.counters("a", "b").unwrap().packets < 50 {
        assert!(Instant::now() < deadline, "they were not sent");
        std::thread::sleep(Duration::from_millis(5));
    }
    network.change("a", "b", Change::Impair(impairment("delay=1ms rate=8Mbit/s"))).unwrap();
    let came = asker.answers();
    assert!(came.len() == 50 && came.is_sorted_by_key(|(number, _)| *number), "{came:?}");
    let longest = came.iter().map(|(_, micros)| *micros).max().unwrap();
    assert!(longest < 5_000_000, "{longest} us");
}

fn pairs_without_a_link_are_routed_past_the_dead(world: &mut World<'_>) {
    let links = [("a", "b", "delay=10ms"), ("b", "c", "delay=15ms"), ("a", "d", "delay=5ms"), ("d", "c", "delay=90ms")];
    let network = world.open(&["a", "b", "c", "d"], &links);
    let _echo = Player::echo(&network, "c");
    let mut asker = Player::asker(&network, "a");
    // No process ever ran at b.
    let came = asker.ask(&network, "a", "c", 10);
    assert_eq!(came.len(), 10);
    assert!(least(&came) >= 50_000, "{}", least(&came));
    assert!(network.counters("b", "c").unwrap().delivered >= 10);
    assert_eq!(network.counters("d", "c").unwrap().delivered, 0);
    network.change("c", "b", Change::Cut).unwrap();
    assert_eq!(asker.ask(&network, "a", "c", 10).len(), 0);
}

fn bundles_of_datagrams_are_lost_one_by_one(world: &mut World<'_>) {
    let network = world.open(&["a", "b", "c"], &[("a", "b", "delay=2ms"), ("b", "c", "delay=2ms")]);
    let start = |node: &str, role: &str| {
        let mut player = Player::start(&network, node, &format!("{role} {}", network.bind(node).unwrap()));
        assert_eq!(player.line(), "ready");
        player
    };
    let (mut blast, mut count) = (start("a", "blast"), start("c", "count"));
    let mut send = |bundles: usize| {
        writeln!(blast.input, "{} {bundles}", network.address("a", "c").unwrap()).unwrap();
        assert_eq!(blast.line(), "sent");
        count.line().split_whitespace().map(|number| number.parse().unwrap()).collect::<Vec<u32>>()
    };
    // Whole over both links, then cut at the second.
    assert_eq!(send(5), (0..5 * BUNDLE as u32).collect::<Vec<_>>());
    assert!(network.counters("b", "c").unwrap().delivered >= 5 * BUNDLE as u64, "datagrams are counted, not bundles");
    network.change("b", "c", Change::Impair(impairment("delay=2ms loss=10%"))).unwrap();
    let came = send(50);
    // 2,000 at 10 %, as with single datagrams; were bundles lost, it would be one or two of them in a row.
    assert!((1_740..=1_860).contains(&came.len()), "{}", came.len());
    let gaps = came.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(gaps > 100, "{gaps}");
    assert!(came.is_sorted());
}

fn bundles_of_tcp_come_whole_through_any_link(world: &mut World<'_>) {
    let links = ["delay=1ms", "delay=1ms rate=200Mbit/s", "delay=1ms loss=0.1%", "delay=1ms jitter=2ms"];
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms")]);
    for (port, link) in (5_000..).zip(links) {
        network.change("a", "b", Change::Impair(impairment(link))).unwrap();
        let listen = SocketAddr::new(network.bind("b").unwrap().ip(), port);
        let mut drain = Player::start(&network, "b", &format!("drain {listen}"));
        assert_eq!(drain.line(), "ready");
        let mut pour = Player::start(&network, "a", &format!("pour {listen}"));
        assert_eq!((pour.line(), drain.line()), ("poured".to_owned(), POURED.to_string()), "{link}");
    }
}

fn islands_stay_apart(world: &mut World<'_>) {
    let network = world.open(&["a", "b", "c"], &[("a", "b", "delay=1ms")]);
    let _echo = Player::echo(&network, "c");
    assert_eq!(Player::asker(&network, "a").ask(&network, "a", "c", 5).len(), 0);
}

fn two_nodes_talk_to_a_third_at_once(world: &mut World<'_>) {
    let network = world.open(&["a", "b", "c"], &[("a", "c", "delay=5ms"), ("b", "c", "delay=50ms")]);
    let _echo = Player::echo(&network, "c");
    let (mut a, mut b) = (Player::asker(&network, "a"), Player::asker(&network, "b"));
    let near = a.ask(&network, "a", "c", 20);
    let far = b.ask(&network, "b", "c", 20);
    assert_eq!((near.len(), far.len()), (20, 20));
    assert!(least(&near) >= 10_000 && least(&near) < least(&far) && least(&far) >= 100_000);
}

fn turned(stream: &mut TcpStream, line: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn a_node_is_reached_beside_its_links(world: &mut World<'_>) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms")]);
    network.change("a", "b", Change::Cut).unwrap();
    let mut player = Player::start(&network, "b", "serve");
    let port: u16 = player.line().parse().unwrap();
    assert_eq!(turned(&mut network.connect("b", port).unwrap(), "levada"), "adavel");
    if world.mode == Mode::Namespaces {
        // Nobody listens at the same port of another node.
        assert!(network.connect("a", port).is_err());
    }
    assert!(network.connect("z", port).is_err());
}

fn the_host_sees_what_is_exposed(world: &mut World<'_>) {
    let network = world.open(&["a"], &[]);
    let mut player = Player::start(&network, "a", "serve");
    let port: u16 = player.line().parse().unwrap();
    let forwarder = network.expose(world.listener.try_clone().unwrap(), "a", port).unwrap();
    writeln!(world.visitor.input, "{} terrace", forwarder.address()).unwrap();
    assert_eq!(world.visitor.line(), "ecarret");
    if world.mode == Mode::Namespaces {
        // The lab itself has left the host.
        assert!(TcpStream::connect(forwarder.address()).is_err());
    }
}

fn children_inherit_no_descriptors(world: &mut World<'_>) {
    let open = |mut player: Player| -> Vec<String> {
        let line = player.line();
        let targets = line.split(' ').map(|entry| entry.split_once('=').unwrap().1);
        // Pipes and folders of processes differ by number.
        targets.map(|target| target.trim_end_matches(|c: char| !c.is_alphabetic()).to_owned()).collect()
    };
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms")]);
    let _door = network.address("a", "b").unwrap();
    let at_node = open(Player::start(&network, "a", "open"));
    assert!(!at_node.iter().any(|target| target.contains("tun") || target.starts_with("net:")), "{at_node:?}");
    let plain = open(Player::of(role("open").spawn().unwrap()));
    assert_eq!(at_node.len(), plain.len(), "{at_node:?} {plain:?}");
}

fn children_die_with_the_network(world: &mut World<'_>) {
    let network = world.open(&["a"], &[]);
    let mut child = network.spawn("a", role("sleep")).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert!(matches!(network.bind("b"), Err(NetError::UnknownNode(_))));
    drop(network);
    until("the child is dead", || child.try_wait().unwrap().is_some());
}

fn children_die_with_a_lab_that_is_killed(world: &mut World<'_>) {
    let kind = if world.mode == Mode::Namespaces { "namespaces" } else { "loopback" };
    let mut lab = Player::of(role("lab").env(MODE_VARIABLE, kind).spawn().unwrap());
    let child: u32 = lab.line().parse().unwrap();
    // A process that is dead may stay as a zombie where nobody waits for it.
    let lives = || {
        let status = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
    };
    assert!(lives());
    lab.child.kill().unwrap();
    until("the child is dead", || !lives());
}

fn until(what: &str, is_so: impl FnMut() -> bool) {
    let mut is_so = is_so;
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
