//! Every way an update can lie: one is made with one thing wrong, and must be refused with the old bundle as
//! it was; and what is made of honest ones is the new bundle to the bit.

use super::super::archive_of;
use super::super::signature;
use super::super::update_write::{UpdateRequest, encoded, sealed, write_update};
use super::*;

/// A folder with an old bundle, a new one, and the update.
struct Place {
    folder: tempfile::TempDir,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let place =
            Self { folder: tempfile::tempdir().unwrap(), old: archive_of(0.5), new: archive_of(0.25) };
        place.put("old.frost", &place.old);
        place.put("new.frost", &place.new);
        place.write(None);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.at(name), bytes).unwrap();
    }

    fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at(name)).unwrap()
    }

    fn write(&self, sign: Option<&PathBuf>) {
        let (old, new) = (self.at("old.frost"), self.at("new.frost"));
        let request = UpdateRequest { old: &old, new: &new, sign, overwrite: true };
        write_update(&self.at("x.frostup"), &request).unwrap();
    }

    fn header(&self) -> UpdateHeader {
        Update::open(&self.at("x.frostup"), None).unwrap().header
    }

    fn apply(&self, options: &UpdateOptions) -> Result<Updated> {
        apply_update(&self.at("old.frost"), &self.at("x.frostup"), options)
    }

    /// The same update with another header.
    fn with_header(&self, header: &str) -> Vec<u8> {
        let bytes = self.get("x.frostup");
        let opened = Update::open(&self.at("x.frostup"), None).unwrap();
        sealed(header.as_bytes(), &bytes[opened.body.start as usize..opened.body.end as usize])
    }

    /// An update of these steps and new bytes, with a header that is honest but for what it makes.
    fn with_body(&self, header: &UpdateHeader, steps: &[Step], fresh: &[u8]) -> Vec<u8> {
        let mut body = (steps.len() as u32).to_le_bytes().to_vec();
        body.extend(steps.iter().flat_map(|step| step.bytes()));
        body.extend(fresh);
        sealed(document::line(header).as_bytes(), &zstd::encode_all(&body[..], 1).unwrap())
    }

    #[track_caller]
    fn refused(&self, update: &[u8], parts: &[&str]) {
        self.put("x.frostup", update);
        self.refuses(&UpdateOptions::default(), parts);
    }

    #[track_caller]
    fn refuses(&self, options: &UpdateOptions, parts: &[&str]) {
        let Err(error) = self.apply(options) else { panic!("the update was applied") };
        let text = format!("{error} {}", error.remedy().unwrap_or_default());
        assert_eq!(error.kind(), Kind::Bundle, "{text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in {text}"));
        assert!(self.get("old.frost") == self.old, "the old bundle was changed");
        let out = options.out.as_ref();
        assert!(out.is_none_or(|out| !out.exists()), "something was written");
    }
}

#[test]
fn an_honest_update_makes_the_new_bundle_to_the_bit() {
    let place = Place::new();
    assert!(place.get("x.frostup").len() < place.new.len() / 2, "{}", place.get("x.frostup").len());
    let out = place.at("out.frost");
    let elsewhere = UpdateOptions { out: Some(out.clone()), ..UpdateOptions::default() };
    assert!(!place.apply(&elsewhere).unwrap().up_to_date);
    assert!(place.get("out.frost") == place.new && place.get("old.frost") == place.old);
    assert!(place.apply(&elsewhere).unwrap().up_to_date);
    place.put("out.frost", &archive_of(3.0));
    let error = place.apply(&elsewhere).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists, "{error}");
    let over = UpdateOptions { overwrite: true, ..elsewhere };
    assert!(!place.apply(&over).unwrap().up_to_date && place.get("out.frost") == place.new);
    // In its place, and once more.
    let Updated { path, header, up_to_date } = place.apply(&UpdateOptions::default()).unwrap();
    assert_eq!((path, up_to_date), (place.at("old.frost"), false));
    assert_eq!(header.to.hash, Fingerprint::of_bytes(&place.new));
    assert!(place.get("old.frost") == place.new);
    assert!(place.apply(&UpdateOptions::default()).unwrap().up_to_date);
}

#[test]
fn the_same_two_bundles_give_the_same_update_and_one_alone_none() {
    let place = Place::new();
    let first = place.get("x.frostup");
    let (old, new) = (place.at("old.frost"), place.at("new.frost"));
    let mut request = UpdateRequest { old: &old, new: &new, sign: None, overwrite: false };
    assert!(write_update(&place.at("x.frostup"), &request).unwrap(), "it is up to date");
    assert!(place.get("x.frostup") == first);
    let (secret, public) = keys(&place, "own.key");
    signature::put_beside(Signed::Bundle, &new, Some(&secret), false).unwrap();
    request.sign = Some(&secret);
    for round in 0..2 {
        assert!(write_update(&place.at("x.frostup"), &request).unwrap(), "the same, signed: {round}");
        Update::open(&place.at("x.frostup"), Some(&public)).unwrap();
        assert!(place.header().signature.is_some());
    }
    place.put("new.frost", &archive_of(9.0));
    let error = write_update(&place.at("x.frostup"), &request).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists, "{error}");
    request.new = &old;
    let error = write_update(&place.at("y.frostup"), &request).unwrap_err();
    assert!(error.to_string().contains("nothing to update"), "{error}");
    let text = place.at("text");
    place.put("text", b"no bundle");
    request.old = &text;
    let error = write_update(&place.at("y.frostup"), &request).unwrap_err();
    assert!(error.to_string().contains("not a bundle"), "{error}");
}

#[test]
fn whatever_two_files_are_one_is_made_of_the_other() {
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let place = Place::new();
    let (update, base) = (place.at("x.frostup"), place.header());
    let size = |bytes: &[u8]| WholeFile { bytes: bytes.len() as u64, hash: Fingerprint::of_bytes(bytes) };
    for round in 0..200 {
        let few = if round % 2 == 0 { 2 } else { 256 };
        let old: Vec<u8> = (0..random(3000)).map(|_| random(few) as u8).collect();
        let mut new = old.clone();
        for _ in 0..random(6) {
            let (from, to) = (random(new.len() + 1), random(new.len() + 1));
            let more = (0..random(200)).map(|_| random(few) as u8);
            new.splice(from.min(to)..from.max(to).min(from.min(to) + 150), more);
            let moved = random(new.len() + 1);
            new.rotate_left(if random(3) == 0 { moved } else { 0 });
        }
        let header = UpdateHeader { from: size(&old), to: size(&new), ..base.clone() };
        place.put("x.frostup", &encoded(&header, &old, &new).unwrap());
        place.put("a", &old);
        let opened = Update::open(&update, None).unwrap();
        let mut out = File::create(place.at("b")).unwrap();
        opened.make(&File::open(place.at("a")).unwrap(), &mut out).unwrap();
        assert!(place.get("b") == new, "round {round}");
    }
}

#[test]
fn numbers_that_moved_a_little_are_small() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let old: Vec<u8> = (0..40_000).map(|_| random()).collect();
    // Every twentieth byte by one: no block between the ends is the same.
    let moved = |(place, byte): (usize, &u8)| match place {
        100..39_900 => byte.wrapping_add(u8::from(place % 20 == 7)),
        _ => *byte,
    };
    let new: Vec<u8> = old.iter().enumerate().map(moved).collect();
    let size = encoded(&Place::new().header(), &old, &new).unwrap().len();
    assert!(size < 1_500, "{size} bytes");
}

#[test]
fn an_update_that_ends_early_or_late_is_refused() {
    let place = Place::new();
    let update = place.get("x.frostup");
    for length in [update.len() - 1, update.len() - 40, update.len() / 2, 60, 12, 8] {
        place.refused(&update[..length], &["cut off or altered", "x.frostup", "copy the update again"]);
    }
    place.refused(&update[..7], &["not an update"]);
    place.refused(b"", &["not an update", "an empty file"]);
    place.refused(&[&update[..], &[0]].concat(), &["cut off or altered"]);
    place.refused(&place.new, &["not an update", "a bundle"]);
    std::fs::remove_file(place.at("x.frostup")).unwrap();
    place.refuses(&UpdateOptions::default(), &["no such update"]);
}

#[test]
fn every_altered_byte_is_noticed() {
    let place = Place::new();
    let update = place.get("x.frostup");
    for at in 0..update.len() {
        let mut altered = update.clone();
        altered[at] ^= 0x20;
        place.put("x.frostup", &altered);
        assert!(place.apply(&UpdateOptions::default()).is_err(), "byte {at} may be altered");
    }
    assert!(place.get("old.frost") == place.old);
}

#[test]
fn an_update_of_another_bundle_is_refused() {
    let place = Place::new();
    let other = archive_of(7.0);
    place.put("old.frost", &other);
    let error = place.apply(&UpdateOptions::default()).unwrap_err().to_string();
    let [found, expected] = [&other, &place.old].map(|bytes| Fingerprint::of_bytes(bytes).short());
    for part in ["of another bundle", "old.frost", &found, &expected] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert!(place.get("old.frost") == other);
    place.put("old.frost", b"text,label\n");
    let error = place.apply(&UpdateOptions::default()).unwrap_err().to_string();
    assert!(error.contains("not a bundle") && error.contains("old.frost"), "{error}");
}

#[test]
fn a_header_that_lies_is_refused() {
    let place = Place::new();
    let honest = place.header();
    let with = |change: fn(&mut UpdateHeader)| {
        let mut header = honest.clone();
        change(&mut header);
        place.with_header(&document::line(&header))
    };
    let all = [
        (with(|header| header.to.hash = Fingerprint([1; 32])), "does not make the bundle that it says"),
        (with(|header| header.to.bytes += 1), "steps do not make"),
        (with(|header| header.to.bytes -= 1), "more bytes than it says"),
        (with(|header| header.from.hash = Fingerprint([1; 32])), "of another bundle"),
        (with(|header| header.from.bytes -= 1), "of another bundle"),
        (with(|header| header.to.bytes = 1 << 32), "larger file than a bundle can be"),
        (with(|header| header.format = 2), "format 2"),
        (place.with_header("{\"format\": 1}"), "frosthead"),
        (place.with_header("no JSON"), "header is not what it must be"),
    ];
    let more = document::line(&honest).replace("{\"format\"", "{\"run\":\"rm\",\"format\"");
    let more = place.with_header(&more);
    for (update, part) in all.iter().map(|(update, part)| (update, *part)).chain([(&more, "run")]) {
        place.refused(update, &[part]);
    }
    let mut long = place.with_body(&honest, &[], b"");
    long.truncate(long.len() - 32);
    long[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    long.extend(Fingerprint::of_bytes(&long).0);
    place.refused(&long, &["header is longer than the update"]);
}

#[test]
fn a_body_that_lies_is_refused() {
    let place = Place::new();
    let honest = place.header();
    let size = place.new.len() as u32;
    let whole = Step { new: size, length: 0, start: 0 };
    // All of it as new bytes is honest, too.
    place.put("x.frostup", &place.with_body(&honest, &[whole], &place.new));
    let out = UpdateOptions { out: Some(place.at("out.frost")), ..UpdateOptions::default() };
    place.apply(&out).unwrap();
    std::fs::remove_file(place.at("out.frost")).unwrap();
    let behind = Step { new: 0, length: size, start: place.old.len() as u32 - 1 };
    place.refused(&place.with_body(&honest, &[behind], b""), &["a range that is not there"]);
    let over = Step { new: size + 1, length: 0, start: 0 };
    place.refused(&place.with_body(&honest, &[over], b""), &["more bytes than it says"]);
    let cut = &place.new[..place.new.len() - 1];
    place.refused(&place.with_body(&honest, &[whole], cut), &["body is not what it must be"]);
    let mut other = place.new.clone();
    other[100] ^= 1;
    place.refused(&place.with_body(&honest, &[whole], &other), &["does not make the bundle"]);
    // Differences to what the old bundle does not have.
    let end = place.old.len() as u32;
    let (empty, far) =
        (Step { new: 0, length: 0, start: end }, Step { new: size, length: 0, start: end + size });
    assert!(far.is_difference(empty.end()));
    place.refused(&place.with_body(&honest, &[empty, far], &place.new), &["cannot be read where"]);
    place.refused(&sealed(document::line(&honest).as_bytes(), b"no zstd"), &["steps do not make"]);
    let many = [&u32::MAX.to_le_bytes()[..], b"and so on"].concat();
    let many = sealed(document::line(&honest).as_bytes(), &zstd::encode_all(&many[..], 1).unwrap());
    place.refused(&many, &["4294967295 steps"]);
}

#[test]
fn what_is_made_must_be_a_bundle_whatever_its_hash() {
    let place = Place::new();
    let made = |bytes: &[u8]| {
        let to = WholeFile { bytes: bytes.len() as u64, hash: Fingerprint::of_bytes(bytes) };
        let step = Step { new: bytes.len() as u32, length: 0, start: 0 };
        place.with_body(&UpdateHeader { to, ..place.header() }, &[step], bytes)
    };
    let (script, mut damaged) = (made(b"#!/bin/sh\nrm -rf /\n"), place.new.clone());
    place.refused(&script, &["not a bundle"]);
    place.write(None);
    let last = damaged.len() / 2;
    damaged[last] ^= 1;
    let damaged = made(&damaged);
    place.refused(&damaged, &["x.frostup"]);
}

/// A secret key's file, and the public key.
fn keys(place: &Place, name: &str) -> (PathBuf, PublicKey) {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    place.put(name, pair.sk.to_box(None).unwrap().into_string().as_bytes());
    (place.at(name), pair.pk.to_base64().parse().unwrap())
}

#[test]
fn with_a_key_only_a_signed_update_of_a_signed_bundle_is_applied() {
    let place = Place::new();
    let ((secret, public), (stranger, _)) = (keys(&place, "own.key"), keys(&place, "other.key"));
    let out = Some(place.at("out.frost"));
    let trust = UpdateOptions { out, trust: Some(public), ..UpdateOptions::default() };
    let sign = |name: &str, what, key: &Path| signature::put_beside(what, &place.at(name), Some(key), false);
    place.refuses(&trust, &["the update is not signed", "x.frostup.minisig", "--sign"]);
    // Signed, but not what comes out of it.
    place.write(Some(&secret));
    place.refuses(&trust, &["brings no signature", "--sign KEY"]);
    sign("new.frost", Signed::Bundle, &stranger).unwrap();
    place.write(Some(&secret));
    place.refuses(&trust, &["the bundle was not signed with this key"]);
    sign("new.frost", Signed::Bundle, &secret).unwrap();
    place.write(Some(&stranger));
    place.refuses(&trust, &["the update was not signed with this key"]);
    place.write(Some(&secret));
    // Another update under the same name, and a signature that is none.
    let (honest, signature) = (place.get("x.frostup"), place.get("x.frostup.minisig"));
    place.put("x.frostup", &place.with_body(&place.header(), &[], b""));
    place.refuses(&trust, &["the update was not signed with this key"]);
    place.put("x.frostup", &honest);
    place.put("x.frostup.minisig", b"\xff\xfe nothing");
    place.refuses(&trust, &["the update has a signature that is damaged"]);
    place.put("x.frostup.minisig", &vec![b' '; 70_000]);
    place.refuses(&trust, &["the update has a signature that is damaged", "70000 bytes"]);
    place.put("x.frostup.minisig", &signature);
    place.apply(&trust).unwrap();
    Bundle::open(&place.at("out.frost"), trust.trust.as_ref()).unwrap();
    // The signature of another bundle's bytes in a header that is signed itself.
    let other = String::from_utf8(place.get("x.frostup.minisig")).unwrap();
    let header = UpdateHeader { signature: Some(other), ..place.header() };
    place.put("x.frostup", &place.with_header(&document::line(&header)));
    sign("x.frostup", Signed::Update, &secret).unwrap();
    std::fs::remove_file(place.at("out.frost")).unwrap();
    place.refuses(&trust, &["the bundle was not signed with this key"]);
}

#[test]
fn whoever_was_killed_between_bundle_and_signature_asks_once_more() {
    let place = Place::new();
    let (secret, public) = keys(&place, "own.key");
    let sign = |name: &str| signature::put_beside(Signed::Bundle, &place.at(name), Some(&secret), false);
    sign("old.frost").unwrap();
    sign("new.frost").unwrap();
    place.write(Some(&secret));
    let trust = UpdateOptions { trust: Some(public), ..UpdateOptions::default() };
    place.put("old.frost", &place.new);
    assert!(Bundle::open(&place.at("old.frost"), trust.trust.as_ref()).is_err(), "the old one's signature");
    assert!(place.apply(&trust).unwrap().up_to_date);
    Bundle::open(&place.at("old.frost"), trust.trust.as_ref()).unwrap();
    // Without a signature of the new bundle, that of the old one goes away.
    place.put("old.frost", &place.old);
    for name in ["new.frost.minisig", "x.frostup"] {
        std::fs::remove_file(place.at(name)).unwrap();
    }
    place.write(None);
    place.apply(&UpdateOptions::default()).unwrap();
    assert!(!place.at("old.frost.minisig").exists() && !place.at("x.frostup.minisig").exists());
}
