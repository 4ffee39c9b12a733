#include "service/quota.h"

#include "base/clock.h"
#include "base/err.h"

const struct quota_info quota_infos[QUOTA_COUNT] = {
#define QUOTA(id_, name_, wire_, period_, public_, text_)                                          \
	[QUOTA_##id_] = { .name = (name_),                                                         \
			  .wire = (wire_),                                                         \
			  .text = (text_),                                                         \
			  .period = QUOTA_PERIOD_##period_,                                        \
			  .public_allowed = (public_) },
#include "service/quotas.def"
#undef QUOTA
};

enum quota quota_find(struct str name)
{
	unsigned i = 0;

	while (i < QUOTA_COUNT && !str_eq_z(name, quota_infos[i].name))
		i++;
	return (enum quota)i;
}

static void month_window(int64_t now_s, int64_t *ret_begin_s, int64_t *ret_end_s)
{
	int64_t days = now_s / 86400 - (now_s % 86400 < 0), year;
	unsigned month, day;

	date_from_days(days, &year, &month, &day);
	*ret_begin_s = date_to_days(year, month, 1) * 86400;
	*ret_end_s = date_to_days(year + month / 12, month % 12 + 1, 1) * 86400;
}

void quota_window(enum quota_period period, int64_t now_s, int64_t *ret_begin_s, int64_t *ret_end_s)
{
	int64_t length_s = 60;

	switch (period) {
	case QUOTA_PERIOD_MONTH:
		month_window(now_s, ret_begin_s, ret_end_s);
		return;
	case QUOTA_PERIOD_DAY:
		length_s = 86400;
		break;
	case QUOTA_PERIOD_HOUR:
		length_s = 3600;
		break;
	case QUOTA_PERIOD_MINUTE:
		break;
	case QUOTA_PERIOD_NONE:
		REQUIRE(!"a quota with a window");
	}
	*ret_begin_s = now_s - (now_s % length_s + length_s) % length_s;
	*ret_end_s = *ret_begin_s + length_s;
}
