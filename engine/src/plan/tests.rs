//! What the constructs of the language become, one row each.

use super::reading::Program;
use super::{factor, plan};
use crate::ffi::Code;

fn printed(source: &str) -> String {
    match plan(source.as_bytes()) {
        Ok(bytes) => Program::read(&bytes).print(&|hash| format!("{hash:x}")),
        Err(failure) => panic!("{}: {source}", failure.text),
    }
}

/// The last line: the only rule's program. The source must be one the engine takes.
fn condition_of(rule: &str) -> String {
    let source = format!("import \"pe\" import \"vt\" import \"math\" {rule}");
    let mut compiler = yara_x::Compiler::new();
    compiler.enable_feature("file");
    // A pattern that no condition names is an error of its own.
    let (head, condition) = source.rsplit_once("condition: ").unwrap();
    let condition = condition.trim_end_matches('}');
    let them = if rule.contains('$') {
        "any of them"
    } else {
        "false"
    };
    let all_used = format!("{head} condition: ({condition}) or {them} }}");
    if let Err(err) = compiler.add_source(all_used.as_str()) {
        panic!("{err}");
    }
    let line = printed(&source).lines().last().unwrap().to_string();
    line.split_once(" = ").unwrap().1.to_string()
}

fn string_of(pattern: &str) -> String {
    let source = format!("rule r {{ strings: $a = {pattern} condition: $a }}");
    if let Err(err) = yara_x::compile(source.as_str()) {
        panic!("{err}");
    }
    let line = printed(&source).lines().next().unwrap().to_string();
    line.split_once(" = ").unwrap().1.to_string()
}

#[track_caller]
fn check(rows: &[(&str, &str)], of: fn(&str) -> String) {
    for (source, wanted) in rows {
        assert_eq!(of(source), *wanted, "{source}");
    }
}

#[test]
fn texts() {
    check(
        &[
            (r#""abcdef""#, r#""abcdef""#),
            (r#""abc""#, "true far note 1"),
            (r#""AbCdef" nocase"#, r#""abcdef"i"#),
            (r#""1234" nocase"#, r#""1234""#),
            (r#""ab" wide"#, r#""a.b.""#),
            (r#""abcd" ascii wide"#, r#"any("abcd" "a.b.c.d.")"#),
            (r#""ab" ascii wide"#, "true far note 1"),
            (r#""abcd" fullword private"#, r#""abcd""#),
            (r#""a\x00\"\\d""#, r#""a.\"\\d""#),
            (r#""é…""#, r#""\c3\a9\e2\80\a6""#),
            (r#""É…" nocase"#, r#""\c3\89\e2\80\a6""#),
            (r#""É" wide nocase"#, r#""\c3.\89.""#),
            (r#""abcd" xor(0-1)"#, r#"any("abcd" "`cbe")"#),
            (r#""ab" wide xor(1)"#, r#""`\01c\01""#),
            (
                r#""foobar" base64"#,
                r#"any("Zm9vYmFy" "Zvb2Jhc" "mb29iYX")"#,
            ),
            (r#""foo" base64wide"#, "true far note 1"),
            (r#""foob" base64wide base64"#, "true far note 1"),
            (r#""foo" base64"#, "true far note 1"),
        ],
        string_of,
    );
    let xor = plan(b"rule r { strings: $a = \"abcdefgh\" ascii wide xor condition: $a }").unwrap();
    assert_eq!(Program::read(&xor).runs.len(), 512);
    let alphabet =
        r#""foobar" base64("!@#$%^&*(){}[].,|ABCDEFGHIJ?LMNOPQRSTUVWXYZabcdefghijklmnopqrstu")"#;
    assert!(
        string_of(alphabet).starts_with("any("),
        "{}",
        string_of(alphabet)
    );
}

/// A rule that the engine says the sample matches, and so must its plan.
#[track_caller]
fn lets_through(rule: &str, data: &[u8]) {
    use super::reading::Sample;

    let source = format!("import \"pe\" {rule}");
    let rules = yara_x::compile(source.as_str()).unwrap();
    let mut scanner = yara_x::Scanner::new(&rules);
    let matching = scanner.scan(data).unwrap().matching_rules().len();
    assert_eq!(matching, 1, "{rule}");
    let program = Program::read(&plan(source.as_bytes()).unwrap());
    let sample = Sample {
        data,
        features: Default::default(),
    };
    assert_eq!(program.candidates(&sample), [true], "{rule}");
}

#[test]
fn classes_that_the_engine_takes_for_masks() {
    for (pattern, sample) in [
        ("/ABCD[acgm]EFGH/", "ABCDeEFGH"),
        ("/ABCD[acgm]EFGH/", "ABCDiEFGH"),
        ("/ABCD[0129]EFGH/", "ABCD8EFGH"),
        ("/ABCD[acgm]{2}EFGH/", "ABCDeeEFGH"),
        ("/abcd[acgm]efgh/i", "ABCDEEFGH"),
        ("/AB[acgm]C/", "ABiC"),
    ] {
        let rule = format!("rule r {{ strings: $a = {pattern} condition: $a }}");
        lets_through(&rule, sample.as_bytes());
    }
    for (pattern, sample) in [
        (
            "{ 41 42 43 44 ( 81 | 83 | 87 | 8D ) 45 46 47 48 }",
            b"ABCD\x85EFGH",
        ),
        (
            "{ 41 42 43 44 ( 81 | 83 | 87 | 8D ) 45 46 47 48 }",
            b"ABCD\x89EFGH",
        ),
    ] {
        let rule = format!("rule r {{ strings: $a = {pattern} condition: $a }}");
        lets_through(&rule, sample);
    }
}

#[test]
fn jumps_that_the_engine_cuts() {
    for jump in ["[65536]", "[65535][1]", "[30][65506]"] {
        let rule = format!(
            "rule r {{ strings: $a = {{ 41 42 43 44 {jump} (45 | 46 47) 48 }} condition: $a at 0 }}"
        );
        lets_through(&rule, b"ABCDEH");
    }
}

#[test]
fn variables_that_share_a_flag() {
    for undefined in ["pe.number_of_sections", "uint32(1000)"] {
        let names: Vec<String> = (0..65)
            .map(|i| match i {
                8 => format!("v8 = {undefined}"),
                i => format!("v{i} = uint8({i})"),
            })
            .collect();
        let used: Vec<String> = (0..65)
            .filter(|i| *i != 8)
            .map(|i| format!("v{i} >= 0"))
            .collect();
        let rule = format!(
            "rule r {{ condition: with {} : ({} and v8 == 0) }}",
            names.join(", "),
            used.join(" and ")
        );
        lets_through(&rule, &[b'x'; 200]);
    }
}

#[test]
fn hex() {
    check(
        &[
            ("{ 41 42 43 44 }", r#""ABCD""#),
            ("{ 41 42 43 }", "true far note 1"),
            ("{ 41 42 43 44 ?? 45 46 47 48 }", r#"all("ABCD" "EFGH")"#),
            (
                "{ 41 42 43 44 [2-300] 45 46 47 48 }",
                r#"all("ABCD" "EFGH")"#,
            ),
            (
                "{ 41 42 43 44 [-] 45 46 47 48 }",
                r#"all("ABCD" "EFGH") far"#,
            ),
            (
                "{ 41 42 43 44 [0-5000] 45 46 47 48 }",
                r#"all("ABCD" "EFGH") far"#,
            ),
            ("{ 41 42 43 44 ~45 45 46 47 48 }", r#"all("ABCD" "EFGH")"#),
            ("{ 41 42 ~4? 43 44 }", "true far note 1"),
            ("{ 41 ( 42 | 43 44 ) 45 46 }", r#"any("ABEF" "ACDEF")"#),
            (
                "{ ( 41 42 43 44 ?? | ( 45 46 47 48 | 49 4A 4B 4C ) [4] 4E ) 4D }",
                r#"any("ABCD" "EFGH" "IJKL")"#,
            ),
            ("{ ( 41 42 43 44 | 45 ) }", "true far note 1"),
            ("{ ?? 41 42 43 44 ?? }", r#""ABCD""#),
        ],
        string_of,
    );
    // Nibbles are written out while there is little else.
    assert_eq!(string_of("{ 4? 42 43 44 }").matches("BCD").count(), 16);
    assert_eq!(
        string_of("{ 41 42 43 44 45 46 47 48 4? 49 4A 4B 4C }"),
        r#"all("ABCDEFGH" "IJKL")"#
    );
}

#[test]
fn regular_expressions() {
    check(
        &[
            ("/abcdef/", r#""abcdef""#),
            ("/abcdef/i", r#""abcdef"i"#),
            ("/abcdef/ nocase", r#""abcdef"i"#),
            ("/ab(cd|ef)gh/", r#"any("abcdgh" "abefgh")"#),
            ("/abcd.*efgh/", r#"all("abcd" "efgh") far"#),
            ("/abcd.{2,9}efgh/s", r#"all("abcd" "efgh")"#),
            ("/ab[cd]ef/", r#"any("abcef" "abdef")"#),
            ("/ab[cC]de/", r#""abcde"i"#),
            ("/^abcd$/", r#""abcd""#),
            (r"/\babcd\B/", r#""abcd""#),
            (r"/ab\x00cd/", r#""ab.cd""#),
            (r"/ab\<cd/", r#""ab<cd""#),
            ("/abcde?fghi/", r#"any("abcdfghi" "abcdefghi")"#),
            ("/abcd+efgh/", r#"all("abcd" "defgh") far"#),
            ("/(abcd){2}/", r#""abcdabcd""#),
            ("/(abcd){2,3}/", r#""abcdabcd""#),
            ("/abcd(|efgh)ijkl/", r#"any("abcdijkl" "abcdefghijkl")"#),
            ("/a.c.e.f/", "true far note 3"),
            (r"/[0-9]{4}/", "true far note 3"),
            ("/ab/ wide", r#""a.b.""#),
            ("/abcd/ ascii wide", r#"any("abcd" "a.b.c.d.")"#),
            ("/(?i)abcd/", r#""abcd"i"#),
            ("/(?-i)abcd/ nocase", r#""abcd"i"#),
            ("/(?u)kk[é]abcd/", r#""kk\c3\a9abcd""#),
            (
                "/(abcd|efgh.*xyz.*longer)/",
                r#"any("abcd" all("efgh" "longer")) far"#,
            ),
        ],
        string_of,
    );
}

#[test]
fn conditions() {
    let with = |condition: &str| {
        condition_of(&format!(
            "rule r {{ strings: $a1 = \"aaaa\" $a2 = \"bbbb\" $b = \"cccc\" $_x = \"xxxx\" condition: {condition} }}"
        ))
    };
    let mut bad = 0;
    for (condition, wanted) in [
        ("$a1 and $b and ($a2 or true)", "all($a1 $b)"),
        ("$a1 or $b or $a2", "any($a1 $b $a2)"),
        ("$a1 and ($a2 or $b)", "all($a1 any($a2 $b))"),
        ("all of them", "all($a1 $a2 $b $_x)"),
        ("any of ($a*)", "any($a1 $a2)"),
        ("2 of them", "2of($a1 $a2 $b $_x)"),
        ("(1+1) of them", "2of($a1 $a2 $b $_x)"),
        ("3 of ($a*)", "never"),
        ("50% of them", "2of($a1 $a2 $b $_x)"),
        ("51% of them", "3of($a1 $a2 $b $_x)"),
        ("0% of them", "true note 6"),
        ("0 of them", "true note 6"),
        ("none of them", "true note 6"),
        ("(filesize-3) of them", "true note 6"),
        ("#b of them", "true note 6"),
        ("not $a1", "true note 6"),
        ("not not $a1", "$a1"),
        ("not defined @a1", "true note 6"),
        ("#a1 > 0", "$a1"),
        ("#a1 >= 1", "$a1"),
        ("#a1 >= 0", "true note 6"),
        ("#a1 == 3", "$a1"),
        ("#a1 == 0", "true note 6"),
        ("#a1 != 0", "$a1"),
        ("#a1 < 5", "true note 6"),
        ("0 < #a1", "$a1"),
        ("#a1 * #b", "all($a1 $b)"),
        ("#a1 * filesize * 2 > 0", "all($a1 size>=1)"),
        // Zero times infinity is no number, and true.
        ("#a1 * (1.0 \\ #a1)", "true note 6"),
        ("#a1 * (1.0 \\ #a1) != 0", "true note 6"),
        ("filesize + (-9223372036854775807 - 1) < 5", "true note 6"),
        ("filesize < (-9223372036854775807 - 1)", "true note 6"),
        ("#a1 > #b", "$a1"),
        ("#a1 == #b", "true note 6"),
        ("#a1 + #b > 1", "any($a1 $b)"),
        ("#a1 in (0..100) > 2", "$a1"),
        ("#a1", "$a1"),
        ("@a1 < 100", "$a1"),
        ("@a1[2] != 100", "$a1"),
        ("!b == 4", "$b"),
        ("not (@a1 == 3)", "$a1"),
        ("@a1 + 4 == @b", "all($a1 $b)"),
        ("defined @a1", "$a1"),
        ("defined $a1", "true note 6"),
        ("$a1 at 100", "$a1"),
        ("$a1 at 0", "all($a1 @0:61616161)"),
        ("$a1 at 14", "all($a1 @14:6161)"),
        ("$a1 in (2..2)", "all($a1 @2:61616161)"),
        ("$a1 in (0..10)", "$a1"),
        ("$a1 at @b", "all($b $a1)"),
        (
            "any of ($a*) at 0",
            "any(all($a1 @0:61616161) all($a2 @0:62626262))",
        ),
        ("for any of them : ($)", "any($a1 $a2 $b $_x)"),
        ("for all of ($a*) : (# > 2)", "all($a1 $a2)"),
        ("for 2 of them : ($ at 0 or @ > 5)", "2of($a1 $a2 $b $_x)"),
        ("for all of ($a*) : (# < 2)", "true note 6"),
        ("for 0 of them : ($)", "true note 6"),
        ("for any of ($a*) : ($b)", "$b"),
        ("for any of ($a1) : (for all of ($b) : ($))", "$b"),
        ("for any i in (1..3) : ($a1 at i)", "$a1"),
        ("for all i in (1..#a1) : (@a1[i] > 3)", "$a1"),
        ("for all i in (1..@b) : ($a1)", "all($b $a1)"),
        ("for none i in (1..3) : ($a1)", "true note 6"),
        (
            "for 2 i in (1,2,3) : ($a1 at i)",
            "2of(all($a1 @1:61616161) all($a1 @2:61616161) all($a1 @3:61616161))",
        ),
        ("for any s in (\"a\", \"b\") : (s == \"a\" and $b)", "$b"),
        ("with n = 2 : (n of them)", "2of($a1 $a2 $b $_x)"),
        ("with x = @a1 : (x > 2 or x < 1)", "$a1"),
        ("with x = @a1 : (true)", "true note 6"),
        ("any of ($a1, $b at 3, true)", "true note 6"),
        ("2 of ($a1, $b at 30, true)", "any($a1 $b)"),
        ("filesize < 10KB", "size=0..10239"),
        ("filesize <= 2MB and filesize > 1", "size=2..2097152"),
        ("1KB < filesize", "size>=1025"),
        ("filesize == 3", "size=3..3"),
        ("filesize != 3", "true note 6"),
        ("filesize < 0", "never"),
        ("filesize > 0x7fffffffffffffff", "size>=1"),
        ("filesize < 1024 * 2 + 1", "size=0..2048"),
        ("filesize < 1.5", "size=0..2"),
        ("filesize > 1.5", "size>=1"),
        ("filesize >= 0", "true note 6"),
        ("filesize - 10 < 100", "size=0..109"),
        ("filesize + 10 > 100", "size>=91"),
        ("not filesize < 10", "size>=10"),
        ("not (filesize < 10 or $a1)", "size>=10"),
        ("not (filesize < 10 and $a1)", "true note 6"),
        ("uint16(0) == 0x5a4d", "all(@0:4d5a size>=2)"),
        ("0x5a4d == uint16(0)", "all(@0:4d5a size>=2)"),
        ("uint16be(0) == 0x4d5a", "all(@0:4d5a size>=2)"),
        (
            "uint32(4) & 0xff00 == 0x1200",
            "all(@4:(00&00)12(00&00)(00&00) size>=8)",
        ),
        (
            "(uint32(4) & 0xff00) == 0x1200",
            "all(@4:(00&00)12(00&00)(00&00) size>=8)",
        ),
        ("int8(0) == -1", "all(@0:ff size>=1)"),
        ("int8(0) == 255", "size>=1"),
        ("uint8(0) == 0x1ff", "size>=1"),
        ("uint32(20) == 1", "size>=24"),
        ("uint32(uint32(0x3c)) == 0x4550", "size>=64"),
        ("uint8(-1) == 0", "true note 6"),
        (
            "uint64(8) == 0xffffffffffffffff",
            "all(@8:ffffffffffffffff size>=16)",
        ),
        ("uint16(0) != 1", "size>=2"),
        ("false", "never"),
        ("false or $b", "$b"),
        ("vt.metadata.file_size > 3", "true note 6"),
        ("math.entropy(0, filesize) > 7.0", "true note 6"),
    ] {
        let got = with(condition);
        if got != wanted {
            bad += 1;
            println!("{condition}: {got}, not {wanted}");
        }
    }
    assert_eq!(bad, 0);
}

#[test]
fn what_narrows_nothing_says_why() {
    let rule = |strings: &str| {
        condition_of(&format!(
            "rule r {{ strings: {strings} condition: any of them }}"
        ))
    };
    assert_eq!(rule("$a = \"ab\""), "true note 1");
    assert_eq!(rule("$a = \"abcd\" $b = /x.y/"), "true note 3");
    assert_eq!(rule("$ = \"abcd\" $ = \"efgh\""), "any($ $)");
    // One string that narrows nothing leaves the others their say.
    assert_eq!(
        condition_of("rule r { strings: $a = \"ab\" $b = \"abcd\" condition: all of them }"),
        "$b"
    );
    assert_eq!(
        condition_of(
            "rule r { strings: $a = \"ab\" $b = \"abcd\" $c = \"efgh\" condition: 2 of them }"
        ),
        "any($b $c)"
    );
}

#[test]
fn rules_refer_to_rules() {
    let rules = |source: &str| -> Vec<String> {
        yara_x::compile(source).unwrap();
        printed(source)
            .lines()
            .filter(|line| !line.starts_with('$'))
            .map(str::to_string)
            .collect()
    };
    assert_eq!(
        rules(
            "private rule a { strings: $x = \"abcd\" condition: $x } \
             rule b { condition: a and filesize > 3 } rule c { condition: not a } \
             rule d { condition: c } \
             rule e { condition: for any a in (1, 2) : (a == 1) }"
        ),
        [
            "a = $x",
            "b = all(a size>=4)",
            "c = true note 6",
            "d = true note 6",
            "e = true note 6"
        ]
    );
    // Global rules hold for those before and after them.
    assert_eq!(
        rules(
            "rule a { strings: $x = \"abcd\" condition: $x } \
             rule h { strings: $y = \"efgh\" condition: $y } \
             global rule g { condition: h and filesize > 3 } rule c { condition: true }"
        ),
        [
            "a = all($x $y size>=4)",
            "h = all($y size>=4)",
            "g = all(h size>=4)",
            "c = g"
        ]
    );
}

#[test]
fn what_is_too_much_is_true() {
    // 32 characters of 26 kinds each.
    assert_eq!(string_of("/[a-z]{32}/"), "true far note 3");
    let long = "a".repeat(10_000);
    assert_eq!(
        string_of(&format!("\"{long}\"")),
        format!("\"{}\" far", "a".repeat(factor::RUN_BYTES_MAX))
    );
    let many = (0..3000)
        .map(|i| format!("$s{i} = \"string number {i}\" "))
        .collect::<String>();
    let source = format!("rule r {{ strings: {many} condition: 5 of them }}");
    assert!(printed(&source)
        .lines()
        .last()
        .unwrap()
        .starts_with("r = any("));
    let rules = "rule r { condition: true } ".repeat(1001);
    assert_eq!(plan(rules.as_bytes()).unwrap_err().code, Code::Invalid);
}

#[test]
fn patterns_made_to_be_slow_are_not() {
    let start = std::time::Instant::now();
    for pattern in [
        format!("/{}/", "(a|b)".repeat(2000)),
        format!("/{}/", "[ab]xyz.".repeat(1600)),
        format!("/{}/", "(abcd|efgh|ijkl.*mnop){3}".repeat(300)),
        format!("/({}abcd{}/", "((".repeat(60), "){64}){64}".repeat(1)).replace("((((", "(("),
        "/((((abcdef.){60}){60}){60}){60}/".to_string(),
        format!("/{}/i", "abcd?".repeat(2000)),
        format!("{{ {} }}", "41 ?? 4? [1-9] ".repeat(3000) + "41"),
        format!("{{ {} 41 }}", "( 41 | 42 43 | 44 45 46 ) ".repeat(2000)),
        format!("{{ {}41{} }}", "( 41 | 42 ".repeat(500), ")".repeat(500)),
        format!("\"{}\" xor wide ascii", "x".repeat(100_000)),
        format!("\"{}\" base64 base64wide wide ascii", "x".repeat(100_000)),
    ] {
        let source = format!("rule r {{ strings: $a = {pattern} condition: $a }}");
        let before = start.elapsed();
        if let Ok(bytes) = plan(source.as_bytes()) {
            Program::read(&bytes);
        }
        println!("{:?} for {:.40}", start.elapsed() - before, pattern);
    }
    for (open, close) in [
        ("for any of them : (", ")"),
        ("for any i in (1, 2, 3) : ($a and ", ")"),
        ("with x = x1 + 1, x1 = x : (x == 1 or ", ")"),
        ("not (", ")"),
        ("(true and (false or ", "))"),
    ] {
        let condition = format!("{}$a{}", open.repeat(60), close.repeat(60));
        let source =
            format!("rule r {{ strings: $a = \"abcd\" $b = \"efgh\" condition: {condition} }}");
        let _ = plan(source.as_bytes());
    }
    let took = start.elapsed();
    assert!(took.as_secs() < 60, "{took:?}");
    println!("{took:?}");
}

#[test]
fn bad_sources_are_refused() {
    for source in [
        &b"rule"[..],
        b"rule a { condition: }",
        b"include \"x\" rule a { condition: true }",
        b"rule a { condition: \xff }",
    ] {
        assert_eq!(plan(source).unwrap_err().code, Code::Compile);
    }
    let deep = format!(
        "rule a {{ condition: {}true{} }}",
        "(".repeat(5000),
        ")".repeat(5000)
    );
    assert_eq!(plan(deep.as_bytes()).unwrap_err().code, Code::Compile);
    assert_eq!(printed("").as_str(), "");
}

#[test]
fn facts_of_modules() {
    use crate::features::{grams, number, placed, table, text};

    let with = |condition: &str| {
        let source = format!(
            "import \"pe\" import \"elf\" import \"dotnet\" import \"hash\" \
             rule r {{ strings: $a = \"abcdef\" condition: ({condition}) and $a }}"
        );
        if let Err(err) = yara_x::compile(source.as_str()) {
            panic!("{err}");
        }
        let all: Vec<u64> = grams("pe.pdb_path", b"evil").collect();
        let named = [
            (number("pe.is_pe", 1), "is_pe"),
            (number("dotnet.is_dotnet", 1), "is_dotnet"),
            (
                text(table::IMPHASH, b"0123456789abcdef0123456789abcdef"),
                "imphash",
            ),
            (text("pe.sections[].name", b".upx0"), "section"),
            (number("pe.machine", 0x8664), "amd64"),
            (number("pe.number_of_sections", 3), "three sections"),
            (text(table::IMPORTS, b"a.dll"), "a.dll"),
            (text(table::IMPORTS_FUNCTION, b"a.dll\0f"), "a.dll f"),
            (text(table::EXPORTS, b"f"), "exported f"),
            (text("pe.version_info[]companyname", b"evil"), "company"),
            (all[0], "evil in pdb"),
            (text("pe.pdb_path~", b"bcde"), "bcde in pdb"),
            (text(table::MD5, b"00112233445566778899aabbccddeeff"), "md5"),
            (number("elf.type", 3), "dyn"),
            (placed("pe.entry_point", 0, b"abcd"), "abcd"),
            (placed("pe.entry_point", 1, b"bcde"), "bcde"),
            (placed("pe.entry_point", 2, b"cdef"), "cdef"),
        ];
        let label = |hash: u64| {
            let known = named.iter().find(|(known, _)| *known == hash);
            known.map_or("?".to_string(), |(_, name)| format!("<{name}>"))
        };
        let line = Program::read(&plan(source.as_bytes()).unwrap()).print(&label);
        line.lines()
            .last()
            .unwrap()
            .split_once(" = ")
            .unwrap()
            .1
            .to_string()
    };
    for (condition, wanted) in [
        ("pe.is_pe", "all(<is_pe> @0:4d5a $a)"),
        ("not pe.is_pe", "$a"),
        ("pe.is_pe == 0", "$a"),
        (
            "pe.imphash() == \"0123456789ABCDEF0123456789abcdef\"",
            "all(@0:4d5a <is_pe> <imphash> $a)",
        ),
        ("pe.imphash() != \"x\"", "all(@0:4d5a <is_pe> $a)"),
        (
            "pe.sections[0].name == \".UPX0\"",
            "all(@0:4d5a <is_pe> <section> $a)",
        ),
        (
            "for any s in pe.sections : (s.name == \".UPX0\" and s.raw_data_size > 3)",
            "all(@0:4d5a <is_pe> <section> $a)",
        ),
        (
            "for any i in (0..pe.number_of_sections - 1) : (pe.sections[i].name == \".UPX0\")",
            "all(@0:4d5a <is_pe> <section> $a)",
        ),
        (
            "for all s in pe.sections : (s.name != \".UPX0\")",
            "all(@0:4d5a <is_pe> $a)",
        ),
        ("for none s in pe.sections : (s.name == \".UPX0\")", "$a"),
        (
            "with s = pe.sections[1] : (s.name iequals \".upx0\")",
            "all(@0:4d5a <is_pe> <section> $a)",
        ),
        ("pe.section_index(\".UPX0\") > 3", "all(<section> $a)"),
        (
            "pe.machine == pe.MACHINE_AMD64",
            "all(@0:4d5a <is_pe> <amd64> $a)",
        ),
        (
            "pe.MACHINE_AMD64 == pe.machine",
            "all(@0:4d5a <is_pe> <amd64> $a)",
        ),
        (
            "pe.number_of_sections == 3",
            "all(@0:4d5a <is_pe> <three sections> $a)",
        ),
        ("pe.number_of_sections < 3", "all(@0:4d5a <is_pe> $a)"),
        (
            "pe.characteristics & pe.DLL == pe.DLL",
            "all(@0:4d5a <is_pe> $a)",
        ),
        ("pe.imports(\"A.dll\")", "all(<a.dll> @0:4d5a <is_pe> $a)"),
        ("pe.imports(\"A.dll\") == 0", "$a"),
        (
            "pe.imports(\"A.dll\", \"F\")",
            "all(<a.dll f> @0:4d5a <is_pe> $a)",
        ),
        (
            "pe.imports(pe.IMPORT_ANY, \"A.dll\", \"F\")",
            "all(<a.dll f> @0:4d5a <is_pe> $a)",
        ),
        (
            "pe.imports(\"A.dll\", 3) > 0",
            "all(<a.dll> @0:4d5a <is_pe> $a)",
        ),
        ("pe.imports(/a/, /b/) > 0", "all(@0:4d5a <is_pe> $a)"),
        ("not pe.imports(\"A.dll\", \"F\")", "$a"),
        // What stands where the library does is one, known or not.
        (
            "for any i in pe.import_details : (pe.imports(i.library_name, \"F\"))",
            "all(@0:4d5a <is_pe> $a)",
        ),
        (
            "pe.imports(pe.IMPORT_ANY, pe.import_details[0].library_name, \"F\")",
            "all(@0:4d5a <is_pe> $a)",
        ),
        (
            "pe.imports(pe.import_details[0].library_name, \"F\")",
            "all(@0:4d5a <is_pe> $a)",
        ),
        (
            "with l = pe.pdb_path : (pe.imports(l, \"F\"))",
            "all(@0:4d5a <is_pe> $a)",
        ),
        (
            "pe.imports(pe.IMPORT_STANDARD | pe.IMPORT_DELAYED, \"A.dll\", \"F\")",
            "all(@0:4d5a <is_pe> $a)",
        ),
        ("pe.exports(\"F\")", "all(<exported f> @0:4d5a <is_pe> $a)"),
        (
            "pe.version_info[\"CompanyName\"] == \"Evil\"",
            "all(@0:4d5a <is_pe> <company> $a)",
        ),
        (
            "pe.pdb_path contains \"EVIL\"",
            "all(@0:4d5a <is_pe> <evil in pdb> $a)",
        ),
        ("pe.pdb_path contains \"evi\"", "all(@0:4d5a <is_pe> $a)"),
        (
            "pe.pdb_path matches /evil.*x/i",
            "all(@0:4d5a <is_pe> <evil in pdb> $a)",
        ),
        ("pe.pdb_path matches /^.*x/", "all(@0:4d5a <is_pe> $a)"),
        (
            "not pe.pdb_path contains \"EVIL\"",
            "all(@0:4d5a <is_pe> $a)",
        ),
        // In any case of Unicode: only of grams whose letters have no other kin.
        (
            "pe.pdb_path icontains \"bcde\"",
            "all(@0:4d5a <is_pe> <bcde in pdb> $a)",
        ),
        (
            "pe.pdb_path icontains \"kbcde\"",
            "all(@0:4d5a <is_pe> <bcde in pdb> $a)",
        ),
        ("pe.pdb_path icontains \"EVIL\"", "all(@0:4d5a <is_pe> $a)"),
        (
            "pe.version_info[\"CompanyName\"] icontains \"компания\"",
            "all(@0:4d5a <is_pe> $a)",
        ),
        (
            "pe.pdb_path istartswith \"kevl\"",
            "all(@0:4d5a <is_pe> $a)",
        ),
        ("pe.pdb_path iendswith \"évé\"", "all(@0:4d5a <is_pe> $a)"),
        (
            "pe.version_info[\"CompanyName\"] iequals \"Evil\"",
            "all(@0:4d5a <is_pe> $a)",
        ),
        ("dotnet.is_dotnet", "all(<is_dotnet> @0:4d5a $a)"),
        ("dotnet.number_of_guids > 3", "all(@0:4d5a <is_dotnet> $a)"),
        ("elf.type == elf.ET_DYN", "all(@0:7f454c46 <dyn> $a)"),
        // An option of the schema gives this constant another value.
        ("elf.machine == elf.EM_RCE", "all(@0:7f454c46 $a)"),
        (
            "hash.md5(0, filesize) == \"00112233445566778899AABBCCDDEEFF\"",
            "all(<md5> $a)",
        ),
        (
            "hash.md5(1, filesize) == \"00112233445566778899AABBCCDDEEFF\"",
            "$a",
        ),
        (
            "$a at pe.entry_point",
            "all(@0:4d5a <is_pe> $a <abcd> <bcde> <cdef>)",
        ),
        ("$a at pe.entry_point + 1", "all(@0:4d5a <is_pe> $a)"),
        ("for any pe in (1, 2) : (pe == 1)", "$a"),
        ("defined pe.machine", "all(@0:4d5a <is_pe> $a)"),
        ("not defined pe.machine", "$a"),
    ] {
        assert_eq!(with(condition), wanted, "{condition}");
    }
}
