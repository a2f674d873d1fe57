use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
fn f<T: Send + Sync>(thing: T) -> u8 {
    let _ = thing;
    1
}

fn main() {}
