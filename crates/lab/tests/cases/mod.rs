//! What is expected of a network, whatever it is made of.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use levada_lab::net::{Change, Layout, Mode, NetError, Network};
use levada_sim::Impairment;

use crate::node::ROLE;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) mode: Mode,
    /// A listener of the host.
    pub(crate) outside: TcpListener,
}

pub(crate) const ALL: &[(&str, fn(&World))] = &[
    ("delay_is_added_in_both_directions", delay_is_added_in_both_directions),
    ("loss_is_seen_and_counted", loss_is_seen_and_counted),
    ("a_cut_holds_until_it_is_healed", a_cut_holds_until_it_is_healed),
    ("a_cut_in_one_direction_lets_the_other_pass", a_cut_in_one_direction_lets_the_other_pass),
    ("jitter_keeps_order_unless_asked_otherwise", jitter_keeps_order_unless_asked_otherwise),
    ("a_rate_makes_packets_wait_and_a_full_queue_drops_them", a_rate_makes_packets_wait_and_a_full_queue_drops_them),
    ("pairs_without_a_link_are_routed_past_the_dead", pairs_without_a_link_are_routed_past_the_dead),
    ("islands_stay_apart", islands_stay_apart),
    ("two_nodes_talk_to_a_third_at_once", two_nodes_talk_to_a_third_at_once),
    ("a_node_is_reached_beside_its_links", a_node_is_reached_beside_its_links),
    ("the_host_sees_what_is_exposed", the_host_sees_what_is_exposed),
    ("children_inherit_no_descriptors", children_inherit_no_descriptors),
    ("children_die_with_the_network", children_die_with_the_network),
];

impl World {
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

/// A process of a node, which is this program in a role.
struct Player {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Player {
    fn start(network: &Network, node: &str, role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = network.spawn(node, command).unwrap();
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
        writeln!(self.input, "{} {count} 200", network.address(from, to).unwrap()).unwrap();
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

fn delay_is_added_in_both_directions(world: &World) {
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

fn loss_is_seen_and_counted(world: &World) {
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

fn a_cut_holds_until_it_is_healed(world: &World) {
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

fn a_cut_in_one_direction_lets_the_other_pass(world: &World) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms")]);
    let _echo = Player::echo(&network, "b");
    network.change("b", "a", Change::Cut).unwrap();
    assert_eq!(Player::asker(&network, "a").ask(&network, "a", "b", 10).len(), 0);
    let (there, back) = (network.counters("a", "b").unwrap(), network.counters("b", "a").unwrap());
    assert!(there.delivered >= 10 && there.cut == 0, "{there:?}");
    assert!(back.delivered == 0 && back.cut >= 10, "{back:?}");
}

fn jitter_keeps_order_unless_asked_otherwise(world: &World) {
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

fn a_rate_makes_packets_wait_and_a_full_queue_drops_them(world: &World) {
    // 228 bytes at 200 kbit/s take 9 ms; ten of them fit into the queue.
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms rate=200kbit/s queue=2.4kB")]);
    network.change("b", "a", Change::Impair(impairment("delay=1ms"))).unwrap();
    let _echo = Player::echo(&network, "b");
    let came = Player::asker(&network, "a").ask(&network, "a", "b", 100);
    let counters = network.counters("a", "b").unwrap();
    assert!(counters.dropped > 10 && came.len() < 90, "{counters:?}");
    assert!(came.iter().any(|(_, micros)| *micros > 60_000), "{came:?}");
}

fn pairs_without_a_link_are_routed_past_the_dead(world: &World) {
    let links = [("a", "b", "delay=10ms"), ("b", "c", "delay=15ms"), ("a", "d", "delay=5ms"), ("d", "c", "delay=90ms")];
    let network = world.open(&["a", "b", "c", "d"], &links);
    let _echo = Player::echo(&network, "c");
    let mut asker = Player::asker(&network, "a");
    // No process ever ran at b.
    let came = asker.ask(&network, "a", "c", 10);
    assert_eq!(came.len(), 10);
    assert!((50_000..190_000).contains(&least(&came)), "{}", least(&came));
    assert!(network.counters("b", "c").unwrap().delivered >= 10);
    assert_eq!(network.counters("d", "c").unwrap().delivered, 0);
    network.change("c", "b", Change::Cut).unwrap();
    assert_eq!(asker.ask(&network, "a", "c", 10).len(), 0);
}

fn islands_stay_apart(world: &World) {
    let network = world.open(&["a", "b", "c"], &[("a", "b", "delay=1ms")]);
    let _echo = Player::echo(&network, "c");
    assert_eq!(Player::asker(&network, "a").ask(&network, "a", "c", 5).len(), 0);
}

fn two_nodes_talk_to_a_third_at_once(world: &World) {
    let network = world.open(&["a", "b", "c"], &[("a", "c", "delay=5ms"), ("b", "c", "delay=50ms")]);
    let _echo = Player::echo(&network, "c");
    let (mut a, mut b) = (Player::asker(&network, "a"), Player::asker(&network, "b"));
    let near = a.ask(&network, "a", "c", 20);
    let far = b.ask(&network, "b", "c", 20);
    assert_eq!((near.len(), far.len()), (20, 20));
    assert!((10_000..100_000).contains(&least(&near)) && least(&far) >= 100_000);
}

fn turned(stream: &mut TcpStream, line: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn a_node_is_reached_beside_its_links(world: &World) {
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

fn the_host_sees_what_is_exposed(world: &World) {
    let network = world.open(&["a"], &[]);
    let mut player = Player::start(&network, "a", "serve");
    let port: u16 = player.line().parse().unwrap();
    let forwarder = network.expose(world.outside.try_clone().unwrap(), "a", port).unwrap();
    // In namespaces this process cannot reach the host any more: a process that stayed there would. Here the lab's own
    // loopback shows the same forwarder.
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let inner = network.expose(inside, "a", port).unwrap();
    assert_eq!(turned(&mut TcpStream::connect(inner.address()).unwrap(), "terrace"), "ecarret");
    assert_eq!(forwarder.address(), world.outside.local_addr().unwrap());
    if world.mode != Mode::Namespaces {
        return;
    }
    assert!(TcpStream::connect_timeout(&forwarder.address(), PATIENCE).is_err(), "the listener is not the host's");
}

fn children_inherit_no_descriptors(world: &World) {
    let network = world.open(&["a", "b"], &[("a", "b", "delay=1ms")]);
    let _door = network.address("a", "b").unwrap();
    let mut player = Player::start(&network, "a", "open");
    let open = player.line();
    // Input, output, errors, and the folder that is being read.
    let numbers = open.split(' ').map(|entry| entry.split_once('=').unwrap());
    let own: Vec<_> = numbers.filter(|(_, target)| target.contains("tun") || target.starts_with("net:")).collect();
    assert!(own.is_empty(), "{own:?}");
    let before_us = std::env::var_os("CARGO").is_some() as usize * 4;
    assert!(open.split(' ').count() <= 4 + before_us, "{open}");
}

fn children_die_with_the_network(world: &World) {
    let network = world.open(&["a"], &[]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, "sleep");
    let mut child = network.spawn("a", command).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert!(matches!(network.bind("b"), Err(NetError::UnknownNode(_))));
    drop(network);
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the child lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}
