//! A runtime that tells of its forks. The tests of the Python package fork really; here nothing is
//! forked, and the process is told that it was.

use dogpile::backend::Memory;
use dogpile::{Begun, Config, Region, after_fork, announce_forks};

#[test]
fn an_announced_fork_ends_the_waiting_for_creations_of_the_parent() {
    announce_forks();
    let region = Region::new("forked");
    region.configure(Config::new(Memory::new(10))).unwrap();
    region.blocking().set("old", &1).unwrap();
    let begun = region.blocking().entry("key").begin::<i32>();
    let Begun::Create(parents) = begun else { panic!("nothing is stored") };

    after_fork();

    assert_eq!(region.blocking().get("old").unwrap(), Some(1));
    let created = region.blocking().get_or_create("key", || 2);
    assert_eq!(created, 2);
    // It stores nothing here, and gives up nothing.
    assert_eq!(parents.blocking().finish(3), 3);
    assert_eq!(region.blocking().get("key").unwrap(), Some(2));
}
