//! One run: nodes, clients and publishers around a faulty broker, and what happens to them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use checker::{Fate, Record, Seen};
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use super::client::{Client, Habit};
use super::faulty::{Faults, Faulty};
use super::plan::{End, Event, Plan};
use super::publisher::Publisher;
use super::speech::Speech;
use nexios::testing::TestClient;
use nexios::{App, AppHandle};
use nexios::{WebSocket, WsRouter};
use nexios_cluster::engine::Driver;
use nexios_cluster::parts::Node;
use nexios_cluster::{Broker, History, Memory, Position};

/// The room with history, and the one that does not.
pub(super) const LOG: &str = "log";
pub(super) const PLAIN: &str = "plain";
/// Places of nodes.
pub(super) const NODES: usize = 3;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) broker: Faulty,
    pub(super) record: RefCell<Record>,
    /// Publishers have stopped.
    pub(super) is_quiet: Cell<bool>,
    nodes: RefCell<Vec<Option<Rc<Running>>>>,
    publishers: Cell<u64>,
    /// Publishers that are clients: what they repeat is stored once.
    speakers: RefCell<Vec<u64>>,
    /// Members of the plain room, with the users whom each sees there.
    members: RefCell<Vec<Member>>,
    random: RefCell<fastrand::Rng>,
}

/// A client's name, and the users whom it sees.
type Member = (String, Rc<RefCell<Option<BTreeSet<String>>>>);

/// A node that runs.
pub(super) struct Running {
    pub(super) app: AppHandle,
    pub(super) client: TestClient,
    /// Turns true when it ends.
    pub(super) ending: watch::Receiver<bool>,
    node: Arc<Node>,
    end: watch::Sender<bool>,
    publishers: [u64; 2],
    tasks: RefCell<Vec<AbortHandle>>,
}

impl World {
    /// Runs a seed to its end; returns all that was published and seen.
    pub(super) async fn run(seed: u64) -> Record {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = Rc::new(World {
            plan: Plan::new(&mut random),
            broker: Faulty::new(random.u64(..)),
            record: RefCell::default(),
            is_quiet: Cell::new(false),
            nodes: RefCell::new((0..NODES).map(|_| None).collect()),
            publishers: Cell::new(0),
            speakers: RefCell::default(),
            members: RefCell::default(),
            random: RefCell::new(random),
        });
        spawn_local(world.broker.clone().bring());
        for at in 0..NODES {
            world.start_node(at).await;
        }
        world.start_clients().await;
        (0..NODES).for_each(|at| world.start_publishers(at));
        // All nodes have heard of all.
        sleep(Duration::from_secs(2)).await;
        world.break_things().await;
        world.come_to_rest().await;
        world.check_presence().await;
        world.end_nodes();
        world.settle_fates();
        world.record.take()
    }

    // --- faults

    async fn break_things(self: &Rc<Self>) {
        for _ in 0..self.plan.events {
            let (pause, event, at) = {
                let mut random = self.random.borrow_mut();
                (random.u64(20..1500), self.plan.event(&mut random), random.usize(..NODES))
            };
            sleep(Duration::from_millis(pause)).await;
            self.happens(event, at);
        }
    }

    fn happens(self: &Rc<Self>, event: Event, at: usize) {
        let mut random = self.random.borrow_mut();
        match event {
            Event::Delay => self.broker.faults(|faults| faults.delay_max = Duration::from_millis(random.u64(1..400))),
            Event::Loss => self.broker.faults(|faults| {
                faults.entry_loss = random.f64() / 3.0;
                // What is lost without a word is noticed only if its node goes on.
                faults.envelope_loss = if self.plan.nodes_end { 0.0 } else { random.f64() / 3.0 };
            }),
            Event::Torn => self.broker.faults(|faults| faults.torn = random.f64() / 4.0),
            Event::Refused => self.broker.faults(|faults| faults.refused = random.f64() / 4.0),
            // Now and then for longer than a node asks again.
            Event::Later => self.broker.faults(|faults| {
                faults.later = random.choice([0.0, 0.1, 0.5, 1.0]).unwrap_or(1.0);
            }),
            // Servers that are there and of no use, now and then for longer than a node waits for a better one.
            Event::Useless => self.broker.faults(|faults| {
                faults.useless = random.choice([0.0, 0.5, 1.0]).unwrap_or(1.0);
            }),
            Event::Cut => self.broker.cut(Some(at)),
            Event::Part => _ = self.broker.faults(|faults| faults.parted.insert(at)),
            Event::Heal => self.broker.faults(|faults| faults.parted.clear()),
            Event::Down { forgets } => {
                self.broker.faults(|faults| faults.is_down = true);
                self.broker.cut(None);
                if forgets {
                    self.broker.forget();
                }
            }
            Event::Up => self.broker.faults(|faults| faults.is_down = false),
            Event::Crash | Event::Stop => {
                let pause = Duration::from_millis(random.u64(10..3000));
                spawn_local(self.clone().replace_node(at, event == Event::Crash, pause));
            }
        }
    }

    /// Faults end; time runs on until nothing is to be expected any more.
    async fn come_to_rest(self: &Rc<Self>) {
        self.broker.faults(|faults| (faults.entry_loss, faults.envelope_loss) = (0.0, 0.0));
        sleep(Duration::from_secs(1)).await;
        self.broker.faults(|faults| {
            *faults = Faults { delay_max: faults.delay_max.min(Duration::from_millis(50)), ..Faults::default() };
        });
        // Sessions have held: one that is lost now is followed by another before marks come.
        sleep(Duration::from_secs(13)).await;
        let at = self.random.borrow_mut().usize(..NODES);
        match self.plan.end {
            End::Nothing => {}
            End::Cut => {
                self.broker.cut(Some(at));
                sleep(Duration::from_millis(30)).await;
            }
            End::Lag => {
                self.broker.faults(|faults| faults.parted = (0..NODES).filter(|other| *other != at).collect());
                sleep(Duration::from_secs(3)).await;
            }
        }
        self.is_quiet.set(true);
        sleep(Duration::from_millis(500)).await;
        self.broker.faults(|faults| faults.parted.clear());
        sleep(Duration::from_secs(25)).await;
    }

    // --- nodes

    /// A node in one of the places, as soon as there is one.
    pub(super) async fn node_near(&self, at: usize) -> Rc<Running> {
        loop {
            for near in 0..NODES {
                if let Some(node) = &self.nodes.borrow()[(at + near) % NODES] {
                    return node.clone();
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn start_node(self: &Rc<Self>, at: usize) {
        let small = self.plan.outbox_bytes_max;
        let router = WsRouter::new().settings(move |settings| {
            settings.outbox_bytes_max = small;
            settings.outbox_mark_bytes = small / 4;
            settings.drain_timeout = Duration::from_secs(1);
        });
        let yes = async |_: WebSocket, _: Arc<str>| true;
        let router = router
            .live(true)
            .leave_delay(Duration::from_millis(self.plan.leave_delay_ms))
            // A broker that is away keeps a handler from joining for longer than a second.
            .hold_timeout(Duration::from_secs(3600))
            .ws("/ws", member)
            .ws("/own", own)
            .ws("/let-in", let_in)
            .authorize_join(yes)
            .authorize_presence(yes)
            .authorize_publish(async |ws: WebSocket, room: Arc<str>| ws.rooms().contains(&room));
        let app = App::from(router);
        let _room = app.handle().room(LOG).with_history(History::new(self.plan.history, Duration::from_secs(3600)));
        let built = app.build().expect("an app");
        let (client, turning) = TestClient::driven(&built).expect("a shard");
        let client = client.timeout(Duration::from_secs(3600));
        let broker = Broker::from(&Memory::new())
            .connect_timeout(Duration::from_secs(3600))
            .presence_ttl(Duration::from_secs(5))
            .incoming_bytes_max(self.plan.incoming_bytes_max)
            .outgoing_messages_max(self.plan.outgoing_messages_max);
        let engine = self.broker.engine(at);
        let driver = Driver::new(&broker, engine, Some(built.clients()), Some(built.presence()));
        let node = driver.node.clone();
        built.connect_node(node.clone());
        let (ready, connected) = std::sync::mpsc::channel();
        let working = spawn_local(async move { driver.work(&ready).await });
        let turning = spawn_local(turning);
        while connected.try_recv().is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        let (end, ending) = watch::channel(false);
        let publishers = [self.publishers.get(), self.publishers.get() + 1];
        self.publishers.set(publishers[1] + 1);
        let tasks = RefCell::new(vec![working.abort_handle(), turning.abort_handle()]);
        let running = Running { app: built.handle(), client, ending, node, end, publishers, tasks };
        self.nodes.borrow_mut()[at] = Some(Rc::new(running));
    }

    /// Ends a node, by its own will or as a machine fails, and starts another in its place.
    async fn replace_node(self: Rc<Self>, at: usize, crashes: bool, pause: Duration) {
        let Some(node) = self.nodes.borrow_mut()[at].take() else { return };
        // Its clients are gone at once either way.
        let _ = node.end.send(true);
        if !crashes {
            node.node.stop();
            sleep(Duration::from_secs(2)).await;
        }
        self.end_node(&node);
        sleep(pause).await;
        self.start_node(at).await;
        self.start_publishers(at);
    }

    fn end_node(&self, node: &Running) {
        node.tasks.borrow().iter().for_each(AbortHandle::abort);
        // What had not gone to the broker has gone with the node.
        for published in self.record.borrow_mut().published.iter_mut() {
            let text = format!("{} {}", published.publisher, published.number);
            if node.publishers.contains(&published.publisher)
                && published.room == PLAIN
                && !self.broker.has_heard(&text)
            {
                published.fate = Fate::Unknown;
            }
        }
    }

    fn end_nodes(&self) {
        for node in self.nodes.borrow_mut().iter_mut().filter_map(Option::take) {
            let _ = node.end.send(true);
            node.tasks.borrow().iter().for_each(AbortHandle::abort);
        }
    }

    /// What is stored counts, whether its publisher was told so or not.
    fn settle_fates(&self) {
        for published in self.record.borrow_mut().published.iter_mut().filter(|published| published.room == LOG) {
            let places = self.broker.places(&format!("{} {}", published.publisher, published.number));
            if self.speakers.borrow().contains(&published.publisher) {
                let epochs: BTreeSet<u64> = places.iter().map(|place| place.epoch).collect();
                assert_eq!(epochs.len(), places.len(), "{published:?} is stored twice: {places:?}");
            }
            let is_told =
                |place: &Position| published.fate == Fate::Stored { epoch: place.epoch, offset: place.offset };
            match published.fate {
                Fate::Stored { .. } => assert!(places.iter().any(is_told), "{published:?} is at {places:?}"),
                Fate::Refused => assert!(places.is_empty(), "{published:?} is at {places:?}"),
                Fate::Accepted | Fate::Unknown => {
                    let place = places.first();
                    published.fate =
                        place.map_or(published.fate, |place| Fate::Stored { epoch: place.epoch, offset: place.offset });
                }
            }
        }
    }

    // --- clients and publishers

    pub(super) fn new_client(&self, name: &str, room: &str, remembers: bool) -> usize {
        let mut record = self.record.borrow_mut();
        record.client(name, room, remembers);
        record.clients.len() - 1
    }

    async fn start_clients(self: &Rc<Self>) {
        let habits = [
            Habit::Steady,
            Habit::Steady,
            Habit::Steady,
            Habit::Restless,
            Habit::Restless,
            Habit::Slow,
            Habit::Speaking,
            Habit::Speaking,
        ];
        for (number, habit) in habits.into_iter().enumerate() {
            let name = format!("{habit:?} {number}");
            let (of_log, of_plain) = (self.new_client(&name, LOG, true), self.new_client(&name, PLAIN, false));
            let random = self.random.borrow_mut().fork();
            let (world, at, position) = (self.clone(), number % NODES, Position::default());
            let (users, speech) = (Rc::default(), (habit == Habit::Speaking).then(|| self.speech(number % 2 == 0)));
            if speech.is_none() {
                self.members.borrow_mut().push((name.replace(' ', "-"), Rc::clone(&users)));
            }
            let client = Client { world, name, habit, at, random, position, of_log, of_plain, users, speech };
            if habit == Habit::Speaking {
                // It is in one of the rooms only.
                client.saw(of_plain, Seen::Away);
            }
            spawn_local(client.live());
        }
        while !self.record.borrow().clients.iter().filter(|client| client.has_history).all(is_in) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn speech(self: &Rc<Self>, joins: bool) -> Speech {
        let publisher = self.publishers.get();
        self.publishers.set(publisher + 1);
        self.speakers.borrow_mut().push(publisher);
        Speech::new(self, self.random.borrow_mut().fork(), publisher, joins)
    }

    /// All nodes and all members know who is there.
    async fn check_presence(&self) {
        let members: Vec<Member> = self.members.borrow().clone();
        let truth: BTreeSet<String> = members.iter().map(|(name, _)| name.clone()).collect();
        let nodes: Vec<Rc<Running>> = self.nodes.borrow().iter().flatten().cloned().collect();
        for (at, node) in nodes.iter().enumerate() {
            let present = node.app.room(PLAIN).presence().await;
            let seen: BTreeSet<String> = present.iter().map(|present| present.user.to_string()).collect();
            assert_eq!(seen, truth, "node {at}");
            assert!(present.iter().all(|present| present.connections == 1), "node {at}: {present:?}");
        }
        for (name, seen) in &members {
            assert_eq!(seen.borrow().as_ref(), Some(&truth), "{name}");
        }
    }

    fn start_publishers(self: &Rc<Self>, at: usize) {
        let Some(node) = self.nodes.borrow()[at].clone() else { return };
        let publisher = |publisher| {
            let random = self.random.borrow_mut().fork();
            Publisher { world: self.clone(), node: node.clone(), random, publisher }
        };
        let [of_log, of_plain] = node.publishers;
        let (storing, publishing) =
            (spawn_local(publisher(of_log).store()), spawn_local(publisher(of_plain).publish()));
        node.tasks.borrow_mut().extend([storing.abort_handle(), publishing.abort_handle()]);
    }
}

/// Whether a client is in its room.
pub(super) fn is_in(client: &checker::Client) -> bool {
    let last = client.seen.iter().rev().find(|seen| matches!(seen, Seen::Joined { .. } | Seen::Away));
    matches!(last, Some(Seen::Joined { .. }))
}

/// What the app does with a client.
async fn member(ws: WebSocket) -> nexios::Result {
    ws.set_client_id(ws.query("name").unwrap_or_default());
    ws.accept().await?;
    if ws.join(PLAIN).await {
        // It may be gone meanwhile.
        let _ = ws.track(PLAIN, &ws.path()).await;
    }
    ws.join(LOG).await;
    loop {
        ws.receive_text().await?;
    }
}

/// What it does with one that joins by itself.
async fn own(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        ws.receive_text().await?;
    }
}

/// What it does with one that it lets in, once it has looked something up.
async fn let_in(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    sleep(Duration::from_millis(5)).await;
    ws.join(LOG).await;
    loop {
        ws.receive_text().await?;
    }
}
