use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
fn f(n: u8) -> impl Iterator<Item = u8> {
    0..n
}

fn main() {}
