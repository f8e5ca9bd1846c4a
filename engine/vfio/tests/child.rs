//! Child processes. A test harness has threads, so this is a program of its own.

use std::io::{Read as _, Write as _};

use tce_engine::addr::Bytes;
use tce_vfio::child::{ChildError, in_child, limit_locked_memory};

fn main() {
    a_child_tells_what_it_did();
    a_panic_of_a_child_is_told();
    a_limit_is_the_childs_alone();
    a_process_with_threads_makes_no_child();
    println!("4 passed");
}

fn a_child_tells_what_it_did() {
    let told = in_child(|to| to.write_all(b"done").expect("the pipe is open"), read_all);
    assert_eq!(told.expect("it worked"), "done");
}

fn a_panic_of_a_child_is_told() {
    let work = |_: &mut std::fs::File| {
        // What the child would print is no news here.
        std::panic::set_hook(Box::new(|_| ()));
        panic!("as the test wants it")
    };
    let told = in_child(work, read_all);
    assert!(matches!(told, Err(ChildError::Panicked)), "{told:?}");
}

fn a_limit_is_the_childs_alone() {
    let limit = || std::fs::read_to_string("/proc/self/limits").expect("/proc is there");
    let before = limit();
    let work = |to: &mut std::fs::File| {
        limit_locked_memory(Bytes::kib(64)).expect("less is always allowed");
        to.write_all(limit().as_bytes()).expect("the pipe is open");
    };
    let inside = in_child(work, read_all).expect("it worked");
    let line = inside.lines().find(|line| line.starts_with("Max locked memory"));
    assert!(line.is_some_and(|line| line.contains("65536")), "{line:?}");
    assert_eq!(limit(), before);
}

fn a_process_with_threads_makes_no_child() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || stopped.recv());
    let made = in_child(|_| (), read_all);
    assert!(matches!(made, Err(ChildError::Threads(2))), "{made:?}");
    drop(stop);
    other.join().expect("it ends").expect_err("nothing was sent");
}

fn read_all(from: &mut std::fs::File) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("the pipe is open");
    text
}
