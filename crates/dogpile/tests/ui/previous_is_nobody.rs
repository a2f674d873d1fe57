use dogpile::{Region, cached};

static REGION: Region = Region::new("r");

#[cached(region = REGION, previous(known))]
fn load(id: u32) -> u32 {
    id
}

fn main() {}
