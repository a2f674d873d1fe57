use dogpile::{Region, cached_multi};

static R: Region = Region::new("r");

#[cached_multi(region = R)]
fn f(n: u8) -> Vec<u8> {
    vec![n]
}

fn main() {}
