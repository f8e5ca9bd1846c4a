//! What a region of a job may say.

use tce_engine::addr::PageShift;

use super::Job;

/// A job with one region that says this.
fn region(says: &str) -> Result<Job, String> {
    let text = format!("name = \"test\"\ngroups = [1]\n[[region]]\nname = \"memory\"\n{says}");
    let file = toml::from_str(&text).map_err(|error| error.to_string())?;
    Job::new(file).map_err(|error| error.to_string())
}

fn granule(says: &str) -> Option<PageShift> {
    region(says).expect("a job").regions[0].granule
}

#[test]
fn a_granule_is_taken_as_it_is_written() {
    assert_eq!(granule("size = \"6M\""), None);
    assert_eq!(granule("size = \"6M\"\ngranule = \"64K\""), Some(PageShift::K64));
    let huge = "size = \"6M\"\nmemory = \"hugetlb\"\npage = \"2M\"";
    assert_eq!(granule(huge), None);
    assert_eq!(granule(&format!("{huge}\ngranule = 4096")), Some(PageShift::K4));
    // Larger than the backing is allowed: then the backing decides.
    assert_eq!(granule("size = \"6M\"\npage = \"4K\"\ngranule = \"2M\""), Some(PageShift::M2));
}

#[test]
fn a_region_is_whole_granules() {
    assert_eq!(
        region("size = \"3M\"\ngranule = \"2M\"").expect_err("half a granule"),
        "region memory: its size of 3 MiB is not a whole number of pieces of 2M: a smaller granule \
         would be right"
    );
}

#[test]
fn a_granule_is_a_page_size() {
    for wrong in ["\"2K\"", "\"48K\"", "\"32G\"", "0", "\"all\"", "true"] {
        let why = region(&format!("size = \"6M\"\ngranule = {wrong}")).expect_err(wrong);
        assert!(why.contains("granule"), "{why}");
    }
}
