use dogpile::{Region, cached_multi};

static R: Region = Region::new("r");

#[cached_multi(region = R)]
fn f() -> Vec<u8> {
    Vec::new()
}

fn main() {}
