//! Text that is built in, and from files, folders and pipes.

use std::fs;
use std::path::Path;
use tempest::Result;
use tempest::config::{Unknown, Validation, VocabKind};
use tempest::data::{Corpus, Reading, Selection, Source, TINY_SHAKESPEARE, Tokens};

/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// Every byte of it, in the order of the files.
fn open(path: impl AsRef<Path>) -> Result<Corpus> {
    let bytes = Reading { unknown: Unknown::Error, newlines: None };
    Corpus::open(&Source::Path(path.as_ref().into()), VocabKind::Bytes, bytes)
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let corpus = open(path)?;
    Ok(corpus.vocab().decode(&corpus.tokens().window(0..corpus.tokens().len())))
}

fn message(path: impl AsRef<Path>) -> String {
    read(path).unwrap_err().to_string()
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names_without_hidden_files() {
    let folder = folder(&[
        ("b.txt", b"3 no newline"),
        ("a/z.txt", b"2\n"),
        ("a/b.txt", b"1\n"),
        ("c.txt", b""),
        ("d.txt", b"4 the end"),
        (".hidden", b"\xff"),
        (".git/config", b"no"),
    ]);
    assert_eq!(read(folder.path()).unwrap(), "1\n2\n3 no newline\n4 the end");
}

#[test]
fn of_a_folder_that_is_read_which_its_patterns_mean() {
    let folder =
        folder(&[("a.md", b"1"), ("b.txt", b"no"), ("drafts/c.md", b"2"), ("old/d.md", b"3"), ("old/e.md", b"4")]);
    let read = |include: &[&str], skip: &[&str]| {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let (include, skip) = (patterns(include), patterns(skip));
        let text = Selection { source: Source::Path(folder.path().into()), include, skip, validation: None };
        let corpus = Corpus::open(text, VocabKind::Bytes, Unknown::Error)?;
        Ok::<_, tempest::Error>(corpus.vocab().decode(&corpus.tokens().window(0..corpus.tokens().len())))
    };
    assert_eq!(read(&["*.md"], &[]).unwrap(), "1\n2\n3\n4");
    assert_eq!(read(&["*.md"], &["drafts", "old/e*"]).unwrap(), "1\n3");
    assert_eq!(read(&["a.*", "old/*"], &["e.md"]).unwrap(), "1\n3");
    assert_eq!(read(&[], &["*.md"]).unwrap(), "no");
    let error = read(&["*.rs"], &[]).unwrap_err().to_string();
    assert!(error.contains("the folder holds no files that --include means (hidden"), "{error}");
}

#[test]
fn a_share_of_a_text_or_a_text_of_its_own_is_kept_from_training() {
    let folder = folder(&[("text.txt", b"0123456789"), ("other/a.txt", b"ab\n"), ("other/b.txt", b"cd")]);
    let splits = |validation: Option<&str>| {
        let source = Source::Path(folder.path().join("text.txt"));
        let validation = validation.map(|text| text.parse().unwrap());
        let text = Selection { source, validation, ..Selection::default() };
        let corpus = Corpus::open(text, VocabKind::Chars, Unknown::Error).unwrap();
        let of = |split: std::ops::Range<u64>| {
            corpus.vocab().decode(&corpus.tokens().window(split.start as usize..split.end as usize))
        };
        (of(corpus.train()), of(corpus.validation()))
    };
    assert_eq!(splits(None), ("012345678".into(), "9".into()));
    assert_eq!(splits(Some("0.25")), ("0123456".into(), "789".into()));
    let other = folder.path().join("other").display().to_string();
    // Every text but the last ends a line.
    assert_eq!(splits(Some(&other)), ("0123456789\n".into(), "ab\ncd".into()));
    let error = "1.5".parse::<Validation>().unwrap_err().to_string();
    assert_eq!(error, "a share of 1.5; wanted one above 0 and below 1, or a path");
}

#[test]
fn a_missing_path_and_an_empty_folder_say_so() {
    let folder = folder(&[(".hidden", b"text")]);
    assert!(message(folder.path().join("none.txt")).contains("none.txt: cannot read the corpus: No such file"));
    assert!(message(folder.path()).contains("the folder holds no files (hidden ones and runs do not count)"));
}

#[test]
fn a_run_within_its_text_is_no_text() {
    let folder = folder(&[
        ("a.txt", b"one\n"),
        ("runs/1/config.toml", b"seed = 1"),
        ("runs/1/.lock", b""),
        ("runs/1/samples/1.txt", b"thou"),
        ("runs/notes.txt", b"two\n"),
        ("tool/config.toml", b"three\n"),
    ]);
    assert_eq!(read(folder.path()).unwrap(), "one\ntwo\nthree\n");
    assert!(open(folder.path()).unwrap().describe().ends_with(", 1 run folder left out"));
    // Whoever names a run's own folder means it.
    assert_eq!(read(folder.path().join("runs/1/samples")).unwrap(), "thou");
}

#[cfg(unix)]
#[test]
fn a_device_is_no_text() {
    for device in ["/dev/zero", "/dev/null"] {
        let wanted = format!("{device}: this is a device; give a text file, a folder or a pipe");
        assert_eq!(message(device), wanted);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_contains_itself_says_so() {
    let folder = folder(&[("a/text", b"x")]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/up")).unwrap();
    assert!(message(folder.path()).contains("up: the folder contains itself through a link"));
}

#[cfg(unix)]
#[test]
fn a_pipe_can_be_read_more_than_once() {
    let folder = folder(&[]);
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "once").unwrap()
    });
    // Once for the vocabulary and the checksum, and once for the tokens.
    assert_eq!(read(pipe).unwrap(), "once");
    writer.join().unwrap();
}

#[test]
fn a_file_that_is_not_utf8_is_named_with_the_offset_and_a_cure() {
    let folder = folder(&[("good.txt", "é\n".as_bytes()), ("latin.txt", b"caf\xe9 noir")]);
    let said = message(folder.path());
    assert!(
        said.contains("latin.txt: not UTF-8 text, byte 3 is 0xe9; convert it (iconv -f LATIN1 -t UTF-8)"),
        "{said}"
    );
    fs::write(folder.path().join("latin.txt"), b"\xff\xfet\0o\0").unwrap();
    assert!(message(folder.path()).contains("byte 0 is 0xff; convert it (iconv -f UTF-16 -t UTF-8)"));
    fs::write(folder.path().join("latin.txt"), b"ends early \xc3").unwrap();
    assert!(message(folder.path()).contains("latin.txt: not UTF-8 text, byte 11 is 0xc3"));
}

#[test]
fn characters_survive_the_edges_of_chunks() {
    for pad in 0..4 {
        let text = "x".repeat(pad) + &"🌍é".repeat(CHUNK_BYTES / 4);
        let folder = folder(&[("a.txt", text.as_bytes())]);
        assert!(read(folder.path().join("a.txt")).unwrap() == text, "pad {pad}");
    }
    let mut late = "é".repeat(CHUNK_BYTES).into_bytes();
    late.push(0xff);
    let folder = folder(&[("a.txt", &late)]);
    assert!(message(folder.path()).contains("byte 524,288 is 0xff"));
}

#[test]
fn tiny_shakespeare_is_split_as_nanogpt_splits_it() {
    for (kind, size) in [(VocabKind::Ascii, 128), (VocabKind::Chars, 66), (VocabKind::Bytes, 257)] {
        let corpus = Corpus::open(&Source::Embedded, kind, Unknown::Error).unwrap();
        assert_eq!((corpus.train(), corpus.validation()), (0..1_003_854, 1_003_854..1_115_394));
        assert_eq!(corpus.vocab().size(), size);
        assert_eq!(corpus.sha256(), "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed");
        assert!(matches!(corpus.tokens(), Tokens::U8(_)));
        assert!(corpus.vocab().decode(&corpus.tokens().window(0..1_115_394)) == TINY_SHAKESPEARE);
        assert_eq!(
            corpus.describe(),
            format!(
                "Tiny Shakespeare (embedded): 1,115,394 characters, {kind} vocabulary of {size}, 1,003,854 tokens to \
                 train on and 111,540 to validate"
            )
        );
    }
}
