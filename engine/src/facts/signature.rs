//! `signature_info` of PE files: the texts of the version resource, and who signed.
//!
//! Nothing here builds a chain to a trusted root or asks for revocations, so
//! `verified` and `status` say what was looked at and no more.

use yara_x::mods::pe::{Certificate, Signature, PE};

use super::exif::Versions;
use super::out::Out;
use super::read::Date;
use super::Facts;

const INTACT: &str = "The signature matches the file; whether its certificates are trusted was not checked";
const BROKEN: &str = "The digital signature of the object did not verify";
const STATUS: &str = "Trust not checked";

pub fn extract(facts: &mut Facts, pe: &PE, versions: &Versions) {
    const TEXTS: [(&str, &str); 7] = [
        ("product", "ProductName"),
        ("description", "FileDescription"),
        ("file version", "FileVersion"),
        ("original name", "OriginalFilename"),
        ("internal name", "InternalName"),
        ("copyright", "LegalCopyright"),
        ("comments", "Comments"),
    ];
    let signature = pe.signatures.first();
    if signature.is_none() && TEXTS.iter().all(|(_, key)| versions.text(key).is_empty()) {
        return;
    }
    facts.out.object("signature_info", |out| {
        for (name, key) in TEXTS {
            out.text_if(name, versions.text(key));
        }
        if let Some(signature) = signature {
            write_signature(out, signature);
        }
    });
    if let Some(signature) = signature {
        facts.tag("signed");
        if !signature.verified() {
            facts.tag("invalid-signature");
        }
    }
}

fn write_signature(out: &mut Out, signature: &Signature) {
    out.text("verified", if signature.verified() { INTACT } else { BROKEN });
    if let Some(signer) = signature.signer_info.as_ref() {
        write_chain(out, "signers", "signers details", &signer.chain);
    }
    let countersigners: Vec<_> = signature
        .countersignatures
        .iter()
        .flat_map(|counter| counter.chain.iter().cloned())
        .collect();
    write_chain(out, "counter signers", "counter signers details", &countersigners);
    let signed = signature.countersignatures.iter().find_map(|counter| counter.sign_time);
    if let Some(time) = signed {
        out.text("signing date", &Date::of(time).american());
    }
    out.list("x509", &signature.certificates, |out, certificate| {
        out.item_object(|out| {
            write_certificate(out, certificate);
            out.text("valid from", &Date::of(certificate.not_before()).iso());
            out.text("valid to", &Date::of(certificate.not_after()).iso());
        });
    });
}

fn write_chain(out: &mut Out, names: &str, details: &str, chain: &[Certificate]) {
    let signers: Vec<_> = chain.iter().map(|c| name_of(c.subject())).collect();
    out.text_if(names, &signers.join("; "));
    out.list(details, chain, |out, certificate| {
        out.item_object(|out| {
            write_certificate(out, certificate);
            out.text("status", STATUS);
            out.text("valid from", &Date::of(certificate.not_before()).american());
            out.text("valid to", &Date::of(certificate.not_after()).american());
        });
    });
}

fn write_certificate(out: &mut Out, certificate: &Certificate) {
    out.text("name", &name_of(certificate.subject()));
    out.text("cert issuer", &name_of(certificate.issuer()));
    out.text("algorithm", &certificate.algorithm().replace("WithRSAEncryption", "RSA"));
    let serial = certificate.serial().replace(':', " ").to_uppercase();
    out.text("serial number", &serial);
    out.text("thumbprint", &certificate.thumbprint().to_uppercase());
}

/// The common name of `/C=US/O=Example/CN=Example Inc.`, else the organisation, else all.
fn name_of(subject: &str) -> String {
    let part = |key: &str| {
        let at = subject.rfind(key)? + key.len();
        let rest = &subject[at..];
        // A name may hold slashes: it ends before the next `/KEY=`.
        let end = rest
            .match_indices('/')
            .find(|(i, _)| {
                rest[i + 1..]
                    .split_once('=')
                    .is_some_and(|(k, _)| !k.is_empty() && k.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'))
            })
            .map_or(rest.len(), |(i, _)| i);
        Some(rest[..end].to_string())
    };
    part("/CN=")
        .or_else(|| part("/O="))
        .unwrap_or_else(|| subject.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (subject, name) in [
            ("/C=US/O=Example/CN=Example Inc.", "Example Inc."),
            ("/CN=a/b c/O=x", "a/b c"),
            ("/C=US/O=Only", "Only"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(name_of(subject), name);
        }
    }
}
