//! A process that keeps a [collection](dogpile_testkit::fleet::Keeping), over any
//! built-in backend.

fn main() {
    dogpile_testkit::fleet::collection_worker();
}
