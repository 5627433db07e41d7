//! A thread changes the buffer while another sends it. What is judged is what leaves: the kernel's own copy.

use keymoat_tests::{Agent, Client, FakeKey, Net, Options, Script, env};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Sends of each call; three times as many are 10^6 in a run of its own.
fn tries() -> usize {
    env::count(7_000, 340_000)
}

/// Races that may be held until one of them is one.
const ATTEMPTS: usize = 20;

/// What a receiver got, by kind of message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    clean: usize,
    /// The key was being written, or taken out, while the message was copied.
    torn: usize,
    whole: usize,
}

impl Tally {
    fn all(self) -> usize {
        self.clean + self.torn + self.whole
    }
}

/// Takes messages that are all as long as these, and counts them.
struct Receiver {
    clean: Vec<u8>,
    key: FakeKey,
    tally: Mutex<Tally>,
    more: Condvar,
}

impl Receiver {
    fn start(clean: Vec<u8>, key: &FakeKey) -> (Arc<Self>, SocketAddr) {
        let listener = Net::shared().listen();
        let port = listener.local_addr().expect("an address").port();
        let this = Arc::new(Self { clean, key: key.clone(), tally: Mutex::default(), more: Condvar::new() });
        let receiver = Arc::clone(&this);
        thread::spawn(move || receiver.accept(&listener));
        (this, (Net::shared().v4, port).into())
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            let this = Arc::clone(&self);
            thread::spawn(move || this.count(stream));
        }
    }

    fn count(&self, mut stream: TcpStream) {
        let mut message = vec![0; self.clean.len()];
        while stream.read_exact(&mut message).is_ok() {
            let is_whole = || keymoat_tests::server::contains(&message, self.key.reveal().as_bytes());
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            match () {
                () if message == self.clean => tally.clean += 1,
                () if is_whole() => tally.whole += 1,
                () => tally.torn += 1,
            }
            drop(tally);
            self.more.notify_all();
        }
    }

    /// Waits for as many messages as were sent.
    fn wait(&self, sent: usize) -> Tally {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = self.more.wait_timeout_while(tally, env::seconds(15.0), |tally| tally.all() < sent);
        let (tally, _) = waits.unwrap_or_else(PoisonError::into_inner);
        assert_eq!(tally.all(), sent, "every byte that was taken has to be looked at: {tally:?}");
        *tally
    }
}

/// How many messages the kernel took of the client, how many it refused, and what arrived.
fn race(call: &str, key: &FakeKey, tries: usize) -> (u32, usize, Tally) {
    let text = |middle: &str| format!("note {middle} end\n").into_bytes();
    let (clean, with_key) = (text(&"-".repeat(key.reveal().len())), text(key.reveal()));
    let (receiver, address) = Receiver::start(clean.clone(), key);
    let mut command = Command::new(env::bin("km-racer", "keymoat-tests"));
    command.args([call, &address.to_string(), &tries.to_string()]);
    command.arg(Script::of(clean).then(with_key).save());
    let client = Client::run_within(command, tries as f64 / 2_000.0);
    let words: Vec<_> = client.stdout.split_whitespace().collect();
    let ["sent", sent, "refused", refused] = words.as_slice() else { panic!("it said {:?}", client.stdout) };
    let number = |word: &str| word.parse::<usize>().expect("a number");
    let (sent, refused) = (number(sent), number(refused));
    assert_eq!(sent + refused, tries);
    let tally = receiver.wait(sent);
    eprintln!("{call}: {tries} tries, {refused} refused, arrived: {tally:?}");
    (client.pid, refused, tally)
}

fn no_whole_key_arrives(call: &str) {
    let agent = Agent::shared_as(&Options::blocking());
    let key = FakeKey::anthropic();
    // The quicker the machine, the seldomer does a change fall into the copying of a message.
    let raced = (0..ATTEMPTS).any(|_| {
        let (pid, refused, tally) = race(call, &key, tries());
        assert_eq!(tally.whole, 0, "a key left");
        if refused > 0 {
            agent.expect_refused(pid);
        }
        refused > 0 && tally.clean > 0 && tally.torn > 0
    });
    assert!(raced, "this was no race");
    agent.settle();
    assert!(agent.findings_of(&key).iter().all(|it| it.action == "blocked"));
}

#[test]
fn write_of_a_buffer_that_changes() {
    no_whole_key_arrives("write");
}

#[test]
fn sendmsg_of_a_buffer_that_changes() {
    no_whole_key_arrives("sendmsg");
}

#[test]
fn zerocopy_of_a_buffer_that_changes() {
    no_whole_key_arrives("zerocopy");
}

/// What the tests above would see, were nothing refused.
#[test]
fn without_refusing_whole_keys_arrive() {
    let _agent = Agent::shared();
    let raced = (0..ATTEMPTS).any(|_| {
        let (_, refused, tally) = race("write", &FakeKey::anthropic(), 20_000);
        assert_eq!(refused, 0);
        tally.whole > 0 && tally.torn > 0
    });
    assert!(raced, "this was no race");
}
