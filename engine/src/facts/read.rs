//! Reading numbers at offsets that may lie anywhere.

#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub data: &'a [u8],
    pub big: bool,
}

impl<'a> Reader<'a> {
    pub fn little(data: &'a [u8]) -> Self {
        Self { data, big: false }
    }

    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes: [u8; N] = self.data.get(at..at.checked_add(N)?)?.try_into().ok()?;
        if self.big {
            bytes.reverse();
        }
        Some(bytes)
    }

    pub fn u8(&self, at: usize) -> Option<u8> {
        self.data.get(at).copied()
    }

    pub fn u16(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    pub fn u32(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    pub fn u64(&self, at: usize) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }
}

/// Seconds since 1970 as year, month, day, hour, minute, second, weekday (0 is Sunday).
/// The days of the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible
/// low-level date algorithms").
pub struct Date {
    pub year: i64,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub weekday: usize,
}

impl Date {
    pub fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(86400);
        let rest = seconds.rem_euclid(86400) as u32;
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u32,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7) as usize,
        }
    }

    /// `%a %b %d %H:%M:%S %Y`
    pub fn c_time(&self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        format!(
            "{} {} {:02} {:02}:{:02}:{:02} {}",
            DAYS[self.weekday],
            MONTHS[self.month as usize - 1],
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.year
        )
    }

    /// `%Y-%m-%d %H:%M:%S`
    pub fn iso(&self) -> String {
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }

    /// `%I:%M %p %m/%d/%Y`
    pub fn american(&self) -> String {
        format!(
            "{:02}:{:02} {} {:02}/{:02}/{:04}",
            (self.hour + 11) % 12 + 1,
            self.minute,
            if self.hour < 12 { "AM" } else { "PM" },
            self.month,
            self.day,
            self.year
        )
    }

    /// `%Y:%m:%d %H:%M:%S+00:00`
    pub fn exif(&self) -> String {
        format!(
            "{:04}:{:02}:{:02} {:02}:{:02}:{:02}+00:00",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let date = Date::of(1_590_645_204);
        assert_eq!(date.c_time(), "Thu May 28 05:53:24 2020");
        assert_eq!(date.iso(), "2020-05-28 05:53:24");
        assert_eq!(date.american(), "05:53 AM 05/28/2020");
        assert_eq!(date.exif(), "2020:05:28 05:53:24+00:00");
        assert_eq!(Date::of(0).c_time(), "Thu Jan 01 00:00:00 1970");
        assert_eq!(Date::of(-1).iso(), "1969-12-31 23:59:59");
        assert_eq!(Date::of(951_782_400).iso(), "2000-02-29 00:00:00");
        assert_eq!(Date::of(0).american(), "12:00 AM 01/01/1970");
        assert_eq!(Date::of(43_200).american(), "12:00 PM 01/01/1970");
    }

    #[test]
    fn both_orders_and_the_end() {
        let data = [1, 2, 3, 4];
        assert_eq!(Reader::little(&data).u32(0), Some(0x0403_0201));
        assert_eq!(Reader { data: &data, big: true }.u16(1), Some(0x0203));
        assert_eq!(Reader::little(&data).u32(1), None);
        assert_eq!(Reader::little(&data).u16(usize::MAX), None);
    }
}
