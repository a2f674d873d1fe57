use dogpile::{Region, cached_multi};

static R: Region = Region::new("r");

#[cached_multi(region = R)]
fn f(ids: &[u8]) -> String {
    format!("{ids:?}")
}

fn main() {}
