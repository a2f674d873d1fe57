use dogpile::{Region, cached_multi};

static REGION: Region = Region::new("r");

#[cached_multi(region = REGION, previous(known))]
fn load(ids: &[u32], known: Option<u32>) -> Vec<u32> {
    ids.iter().map(|id| known.unwrap_or(*id)).collect()
}

fn main() {}
