use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[derive(Clone, serde::Serialize)]
struct Json<T>(T);

#[cached(region = R, cache_none = false)]
fn f(n: u8) -> Option<Json<u8>> {
    Some(Json(n))
}

fn main() {}
