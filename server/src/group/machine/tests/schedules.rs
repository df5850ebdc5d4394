//! Random schedules: whatever clients, disks and crashes do in whatever order.

use super::*;
use std::collections::HashSet;

/// A small generator: the schedule of a seed is always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A client as the group's answers have taught it.
#[derive(Clone, Debug, Default)]
struct Client {
    instance_id: Option<String>,
    member_id: String,
    generation: i32,
    /// The token of the request that it waits for.
    waits: Option<Token>,
    leads: bool,
    to_assign: Vec<String>,
    share: Option<Bytes>,
}

struct World {
    seed: u64,
    dice: Dice,
    group: Group,
    now: Millis,
    token: Token,
    ids: u64,
    clients: Vec<Client>,
    /// Who waits for which token.
    asked: BTreeMap<Token, usize>,
    answered: HashSet<Token>,
    /// Given to the disk, in order, and not durable yet.
    storing: Vec<(StoreId, GroupRecord)>,
    durable: Option<GroupRecord>,
    /// Counts restarts: a generation that nobody was given shares of may come again after one.
    life: u32,
    leaders: BTreeMap<(u32, i32), String>,
    /// Share by generation and member, as the leader gave them.
    given: BTreeMap<(u32, i32), BTreeMap<String, Bytes>>,
    last_generation: i32,
}

const CLIENTS: usize = 6;

impl World {
    fn new(seed: u64) -> Self {
        let fixed = |n: usize| Client {
            instance_id: n.is_multiple_of(2).then(|| format!("i{n}")),
            ..Client::default()
        };
        let initial_delay_ms = if seed.is_multiple_of(3) { 500 } else { 0 };
        let settings = Settings { initial_delay_ms, members_max: if seed.is_multiple_of(5) { 4 } else { 8 } };
        Self {
            seed,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            group: Group::new(settings, 0, 0),
            now: 0,
            token: 0,
            ids: 0,
            clients: (0..CLIENTS).map(fixed).collect(),
            asked: BTreeMap::new(),
            answered: HashSet::new(),
            storing: Vec::new(),
            durable: None,
            life: 0,
            leaders: BTreeMap::new(),
            given: BTreeMap::new(),
            last_generation: 0,
        }
    }

    fn identity(&self, n: usize) -> Identity {
        let Client { member_id, instance_id, .. } = self.clients[n].clone();
        Identity { member_id, instance_id }
    }

    fn act(&mut self, work: impl FnOnce(&mut Group, Now, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        work(&mut self.group, at(self.now), &mut out);
        for effect in out {
            self.take(effect);
        }
        self.check();
    }

    fn ask(&mut self, n: usize) -> Token {
        self.token += 1;
        self.asked.insert(self.token, n);
        self.clients[n].waits = Some(self.token);
        self.token
    }

    fn join(&mut self, n: usize) {
        let token = self.ask(n);
        self.ids += 1;
        let may_skip = self.dice.roll(2) == 0;
        let mut request = JoinRequest {
            member: self.identity(n),
            id_required: self.dice.roll(2) == 0,
            may_skip,
            ..join("", &format!("m{}-{n}", self.ids))
        };
        if self.dice.roll(6) == 0 {
            request.protocols[0].metadata = Bytes::from(format!("topics {}", self.ids));
        }
        self.act(|group, now, out| group.join(request, token, now, out));
    }

    fn sync(&mut self, n: usize) {
        let token = self.ask(n);
        let client = &self.clients[n];
        let own = Generation { id: client.generation, member: self.identity(n) };
        let share = |id: &String| (id.clone(), Bytes::from(format!("{} of {id}", client.generation)));
        let assignments: Vec<_> = client.to_assign.iter().map(share).collect();
        let request =
            SyncRequest { generation: own, protocol_type: None, protocol: None, assignments, held: None };
        self.act(|group, now, out| group.sync(request, token, now.ms, out));
    }

    fn commit(&mut self, n: usize) {
        let behind = i32::from(self.dice.roll(4) == 0);
        let own = Generation { id: self.clients[n].generation - behind, member: self.identity(n) };
        let group = &mut self.group;
        if group.may_commit(&own, self.now).is_ok() && (own.id >= 0 || group.state != GroupState::Empty) {
            assert_eq!(own.id, group.generation, "seed {}: a commit of an old generation", self.seed);
            let member = group.members.get(&own.member.member_id);
            let member = member.unwrap_or_else(|| panic!("seed {}: a commit of a stranger", self.seed));
            assert_eq!(member.instance_id, own.member.instance_id, "seed {}", self.seed);
        }
    }

    fn leave(&mut self, n: usize) {
        let who = self.identity(n);
        self.act(|group, now, out| _ = group.leave(&[(who, "done".into())], now, out));
        self.forget(n);
    }

    /// The client starts anew; a static one keeps its instance id.
    fn forget(&mut self, n: usize) {
        let instance_id = self.clients[n].instance_id.clone();
        self.clients[n] = Client { instance_id, ..Client::default() };
    }

    /// What was given to the disk first becomes durable, or fails.
    fn disk(&mut self, ok: bool) {
        if self.storing.is_empty() {
            return;
        }
        let (store, record) = self.storing.remove(0);
        if ok {
            self.durable = Some(record);
        }
        self.act(|group, now, out| group.stored(store, ok, now, out));
    }

    /// The broker ends; some of what is under way has reached the disk. Clients do not notice but for answers
    /// that never come.
    fn crash(&mut self) {
        let reached = self.dice.roll(self.storing.len() as u64 + 1) as usize;
        if let Some((_, record)) = self.storing.drain(..).take(reached).next_back() {
            self.durable = Some(record);
        }
        let settings = self.group.settings;
        self.group = match self.durable.clone() {
            Some(record) => Group::load(record, settings, u64::from(self.life) + 1, at(self.now)),
            None => Group::new(settings, u64::from(self.life) + 1, DAY_MS),
        };
        self.life += 1;
        self.last_generation = self.group.generation;
        self.asked.clear();
        for client in &mut self.clients {
            client.waits = None;
        }
        let shares = self.group.members.iter().map(|(id, member)| (id.clone(), member.assignment.clone()));
        self.given.insert((self.life, self.group.generation), shares.collect());
        self.check();
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Joined(token, reply) => self.joined(token, reply),
            Effect::Synced(token, reply) => {
                let Some(n) = self.answer(token) else { return };
                match reply {
                    Ok(synced) => {
                        let client = self.clients[n].clone();
                        let at = (self.life, self.group.generation);
                        let given = self.given.get(&at).and_then(|given| given.get(&client.member_id));
                        assert_eq!(Some(&synced.assignment), given, "seed {}: not its share", self.seed);
                        assert_eq!(client.generation, self.group.generation, "seed {}", self.seed);
                        self.clients[n].share = Some(synced.assignment);
                    }
                    Err(Error::UnknownMember | Error::FencedInstance) => self.forget(n),
                    Err(_) => self.clients[n].share = None,
                }
            }
            Effect::Store(store, record) => {
                if record.generation == self.group.generation {
                    let shares =
                        record.members.iter().map(|one| (one.member_id.clone(), one.assignment.clone()));
                    self.given.insert((self.life, record.generation), shares.collect());
                }
                self.storing.push((store, record));
            }
            Effect::Notice(_) => {}
        }
    }

    /// Notes that a request is answered; who asked, if it still waits for that.
    fn answer(&mut self, token: Token) -> Option<usize> {
        assert!(self.answered.insert(token), "seed {}: {token} is answered twice", self.seed);
        let n = self.asked.remove(&token)?;
        (self.clients[n].waits.take_if(|waits| *waits == token)).map(|_| n)
    }

    fn joined(&mut self, token: Token, reply: JoinReply) {
        let asked = self.asked.get(&token).copied();
        if let Ok(joined) = &reply {
            // A static leader of old that may not know that it leads is told of the one before it.
            if joined.members.len() == self.group.members.len() {
                let at = (self.life, joined.generation);
                let first = self.leaders.entry(at).or_insert_with(|| joined.leader.clone());
                let of = |id: &str| id.rsplit('-').next().map(str::to_owned);
                assert_eq!(of(first), of(&joined.leader), "seed {}: one leader", self.seed);
            }
            assert!(!joined.protocol.is_empty());
            let n = asked.unwrap_or(CLIENTS);
            assert!(n == CLIENTS || joined.member_id.ends_with(&format!("-{n}")), "seed {}", self.seed);
        }
        let Some(n) = self.answer(token) else { return };
        match reply {
            Ok(joined) => {
                let client = &mut self.clients[n];
                client.leads = joined.leader == joined.member_id && !joined.skip_assignment;
                client.to_assign = joined.members.into_iter().map(|one| one.member_id).collect();
                client.member_id = joined.member_id;
                client.generation = joined.generation;
                client.share = None;
            }
            Err((Error::MemberIdRequired, id)) => self.clients[n].member_id = id,
            Err((Error::UnknownMember | Error::FencedInstance, _)) => self.forget(n),
            Err(_) => {}
        }
    }

    fn check(&mut self) {
        let (seed, group) = (self.seed, &self.group);
        assert!(group.generation >= self.last_generation, "seed {seed}: generations go back");
        self.last_generation = group.generation;
        assert_eq!(group.state == GroupState::Empty, group.members.is_empty(), "seed {seed}");
        assert!(group.members.len() <= CLIENTS * 4, "seed {seed}");
        let waits = group.members.values().any(Member::is_waiting);
        assert!(
            !waits || group.next_deadline().is_some() || group.storing.is_some(),
            "seed {seed}: who waits will be answered"
        );
        // Each instance id is one member's, and each static member has one.
        let own = group.members.iter().filter_map(|(id, one)| Some((one.instance_id.clone()?, id.clone())));
        let own: Vec<_> = own.collect();
        assert_eq!(own.len(), group.instances.len(), "seed {seed}");
        assert!(own.iter().all(|(instance, id)| group.instances.get(instance) == Some(id)), "seed {seed}");
    }

    fn schedule(&mut self) {
        for _ in 0..300 {
            self.now += self.dice.roll(4000);
            let n = self.dice.roll(CLIENTS as u64) as usize;
            match self.dice.roll(24) {
                0..=5 => self.join(n),
                6..=10 => self.sync(n),
                11..=12 => {
                    let own = Generation { id: self.clients[n].generation, member: self.identity(n) };
                    self.act(|group, now, _| _ = group.heartbeat(&own, now.ms));
                }
                13..=15 => self.commit(n),
                16 => self.leave(n),
                17 => self.forget(n),
                18..=20 => self.disk(true),
                21 => {
                    let ok = self.dice.roll(4) > 0;
                    self.disk(ok);
                }
                22 => self.act(|group, now, out| group.tick(now, out)),
                _ if self.dice.roll(6) == 0 => self.crash(),
                _ => {}
            }
        }
    }

    /// From here on everybody behaves.
    fn calm_down(&mut self) {
        let settled = |world: &Self| {
            world.group.state == GroupState::Stable
                && world.storing.is_empty()
                && world.group.members.keys().all(|id| {
                    let known = |client: &Client| client.member_id == *id && client.share.is_some();
                    world.clients.iter().any(known)
                })
        };
        let mut rounds = 0;
        while !settled(self) {
            rounds += 1;
            assert!(rounds < 200, "seed {}: never stable: {:?}", self.seed, self.group);
            self.now += 1000;
            for n in 0..CLIENTS {
                if self.clients[n].waits.is_some() {
                    continue;
                }
                let own = Generation { id: self.clients[n].generation, member: self.identity(n) };
                let mut beat = Ok(());
                self.act(|group, now, _| beat = group.heartbeat(&own, now.ms));
                match beat {
                    Ok(()) if self.clients[n].share.is_some() => {}
                    Ok(()) => self.sync(n),
                    Err(Error::UnknownMember | Error::FencedInstance) => {
                        // An id that was given out is not a member's yet.
                        if !self.group.expected.contains_key(&own.member.member_id) {
                            self.forget(n);
                        }
                        self.join(n);
                    }
                    Err(_) => self.join(n),
                }
            }
            while !self.storing.is_empty() {
                self.disk(true);
            }
            self.act(|group, now, out| group.tick(now, out));
        }
    }
}

/// Each request is answered once at most; a generation has one leader; generations never go back; a member gets the
/// share that its leader gave it in this generation; no commit of an old generation or of a fenced member is taken;
/// an instance id is one member's. When clients behave in the end, all who are in the group share one generation.
#[test]
fn random_schedules_keep_the_invariants_and_end_stable() {
    for seed in 1..=1000 {
        let mut world = World::new(seed);
        world.schedule();
        world.calm_down();
    }
}
