//! A process of a [fleet](dogpile_testkit::fleet), over any built-in backend.

fn main() {
    dogpile_testkit::fleet::worker();
}
