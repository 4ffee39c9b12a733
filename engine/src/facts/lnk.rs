//! Shell links: lnk_info, and what exiftool says of them.

use yara_x::mods::lnk::Lnk;

use super::out::Out;
use super::read::Date;
use super::Facts;

pub fn extract(facts: &mut Facts) {
    let Some(lnk) = yara_x::mods::invoke::<Lnk>(facts.data) else {
        return;
    };
    if !lnk.is_lnk() {
        return;
    }
    if let Some(time) = lnk.creation_time.filter(|time| *time > 0) {
        facts.out.int("creation_date", time);
    }
    if lnk.overlay_size() > 0 {
        facts.tag("overlay");
    }
    facts.out.object("lnk_info", |out| write_info(out, &lnk));
    facts.out.object("exiftool", |out| write_exif(out, &lnk));
}

fn drive_type(lnk: &Lnk) -> &'static str {
    const NAMES: [&str; 7] = [
        "Unknown",
        "Invalid Root Path",
        "Removable Media",
        "Fixed Disk",
        "Remote Drive",
        "CD-ROM",
        "Ram Disk",
    ];
    let kind = lnk.drive_type.map_or(0, |t| t.value());
    NAMES.get(kind as usize).copied().unwrap_or("Unknown")
}

fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xffff)
}

fn write_info(out: &mut Out, lnk: &Lnk) {
    for (key, text) in texts(lnk) {
        out.text_if(key, text);
    }
    for (key, time) in [
        ("creation_time", lnk.creation_time),
        ("access_time", lnk.access_time),
        ("write_time", lnk.write_time),
    ] {
        if let Some(time) = time {
            out.int(key, time);
        }
    }
    for (key, number) in [
        ("file_size", lnk.file_size),
        ("file_attributes", lnk.file_attributes),
        ("icon_index", lnk.icon_index),
    ] {
        if let Some(number) = number {
            out.int(key, number);
        }
    }
    if lnk.drive_type.is_some() {
        out.text("drive_type", drive_type(lnk));
    }
    if let Some(number) = lnk.drive_serial_number {
        out.text("drive_serial_number", &serial(number));
    }
    if let Some(tracker) = lnk.tracker_data.as_ref() {
        out.text_if("machine_id", tracker.machine_id());
        out.text_if("droid_volume_id", tracker.droid_volume_id());
        out.text_if("droid_file_id", tracker.droid_file_id());
        out.text_if("droid_birth_volume_id", tracker.droid_birth_volume_id());
        out.text_if("droid_birth_file_id", tracker.droid_birth_file_id());
    }
    if lnk.overlay_size() > 0 {
        out.int("overlay_offset", lnk.overlay_offset());
        out.int("overlay_size", lnk.overlay_size());
    }
}

fn texts(lnk: &Lnk) -> [(&'static str, &str); 8] {
    [
        ("name", lnk.name()),
        ("relative_path", lnk.relative_path()),
        ("working_dir", lnk.working_dir()),
        ("cmd_line_args", lnk.cmd_line_args()),
        ("icon_location", lnk.icon_location()),
        ("local_base_path", lnk.local_base_path()),
        ("common_path_suffix", lnk.common_path_suffix()),
        ("volume_label", lnk.volume_label()),
    ]
}

fn write_exif(out: &mut Out, lnk: &Lnk) {
    out.text("FileType", "LNK");
    out.text("FileTypeExtension", "lnk");
    out.text("MIMEType", "application/octet-stream");
    for (key, text) in [
        ("Description", lnk.name()),
        ("RelativePath", lnk.relative_path()),
        ("WorkingDirectory", lnk.working_dir()),
        ("CommandLineArguments", lnk.cmd_line_args()),
        ("IconFileName", lnk.icon_location()),
        ("LocalBasePath", lnk.local_base_path()),
        ("VolumeLabel", lnk.volume_label()),
    ] {
        out.text_if(key, text);
    }
    for (key, time) in [
        ("CreateDate", lnk.creation_time),
        ("AccessDate", lnk.access_time),
        ("ModifyDate", lnk.write_time),
    ] {
        if let Some(time) = time.filter(|time| *time > 0) {
            out.text(key, &Date::of(time).exif());
        }
    }
    if let Some(size) = lnk.file_size {
        out.text("TargetFileSize", &size.to_string());
    }
    if lnk.drive_type.is_some() {
        out.text("DriveType", drive_type(lnk));
    }
    if let Some(number) = lnk.drive_serial_number {
        out.text("DriveSerialNumber", &serial(number));
    }
    if let Some(tracker) = lnk.tracker_data.as_ref() {
        out.text_if("MachineID", tracker.machine_id());
    }
}
