use dogpile::{Region, cached_multi};

static R: Region = Region::new("r");

struct Repository;

impl Repository {
    #[cached_multi(region = R)]
    fn f(&self, ids: &[u8]) -> Vec<u8> {
        ids.to_vec()
    }
}

fn main() {}
