use dogpile::{Region, cached_multi};

static R: Region = Region::new("r");

#[cached_multi(region = R)]
fn f(ids: &[u8], tenant: &str) -> Vec<u8> {
    let _ = tenant;
    ids.to_vec()
}

fn main() {}
