use dogpile::{Config, Region, backend::*};
use std::sync::atomic::*;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn storm() {
    static R: Region = Region::new("r");
    R.configure(Config::new(Memory::new(100)).expiration(Duration::from_secs(10))).unwrap();
    static N: AtomicUsize = AtomicUsize::new(0);
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        set.spawn(async {
            R.get_or_create("k", || async {
                N.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                7u64
            })
            .await
        });
    }
    while let Some(v) = set.join_next().await {
        assert_eq!(v.unwrap(), 7);
    }
    assert_eq!(N.load(Ordering::SeqCst), 1);
    println!("{:?}", R.statistics());
}
#[test]
fn blocking() {
    let r = Region::new("b");
    r.configure(Config::new(SerializedMemory::new(100))).unwrap();
    assert_eq!(r.blocking().get_or_create("x", || 3u8), 3);
    assert_eq!(r.blocking().get("x").unwrap(), Some(3u8));
    println!("{:?}", r.blocking().entry("x").detailed().get_or_create(|| 4u8));
    println!("{:?} {}", r, std::mem::size_of_val(&r.get_or_create("x", || async { 1u64 })));
}
