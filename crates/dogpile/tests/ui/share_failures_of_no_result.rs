use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R, share_failures)]
fn f(n: u8) -> u8 {
    n
}

fn main() {}
