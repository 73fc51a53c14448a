/* SPDX-License-Identifier: BSD-2-Clause */
/* The wall clock, read once at boot (MC146818). Tested by `date` in a guest. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/pc.h"
#include "arch-x86/plat/acpi.h"
#include "arch-x86/plat/machine.h"
#include "hv/base/log.h"
#include "hv/port/machine.h"

#define CMOS_NMI_OFF 0x80
#define RTC_A 0x0a
#define RTC_A_UIP 0x80
#define RTC_B 0x0b
#define RTC_B_24H 0x02
#define RTC_B_BINARY 0x04
#define RTC_PM 0x80
#define UIP_SPINS 100000u /* an update takes 2 ms; an absent chip reads all ones for ever */
#define READ_TRIES 4

static uint64_t boot_time_s, boot_time_tsc;

static uint8_t cmos(uint8_t reg)
{
    out8(CMOS_INDEX, reg | CMOS_NMI_OFF);
    return in8(CMOS_DATA);
}

enum field { SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, CENTURY, FIELDS };

static void read_fields(uint8_t f[FIELDS])
{
    static const uint8_t reg[CENTURY] = {0, 2, 4, 7, 8, 9};
    for (unsigned i = 0; i < UIP_SPINS && (cmos(RTC_A) & RTC_A_UIP); i++)
        cpu_pause();
    for (unsigned i = 0; i < CENTURY; i++)
        f[i] = cmos(reg[i]);
    f[CENTURY] = acpi_info.century && acpi_info.century < 0x80 ? cmos(acpi_info.century) : 0;
}

static unsigned decode(uint8_t v, bool binary)
{
    return binary ? v : (v >> 4) * 10u + (v & 15);
}

/* Days from 1970-01-01 to year-month-day of the Gregorian calendar; March is month 0 here, so that
 * the leap day ends the year. */
static uint64_t days(uint64_t year, unsigned month, unsigned day)
{
    uint64_t y = month <= 2 ? year - 1 : year;
    unsigned m = month <= 2 ? month + 9 : month - 3;
    return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

void rtc_read(void)
{
    uint8_t f[FIELDS], again[FIELDS];
    bool same = false;

    for (unsigned t = 0; t < READ_TRIES && !same; t++) {
        read_fields(f);
        read_fields(again);
        same = true;
        for (unsigned i = 0; i < FIELDS; i++)
            same = same && f[i] == again[i];
    }
    boot_time_tsc = rdtsc();
    uint8_t b = cmos(RTC_B);
    out8(CMOS_INDEX, 0); /* NMI on again */
    (void)in8(CMOS_DATA);
    bool binary = b & RTC_B_BINARY, pm = !(b & RTC_B_24H) && (f[HOUR] & RTC_PM);
    unsigned hour = decode(b & RTC_B_24H ? f[HOUR] : f[HOUR] & 0x7f, binary);
    if (!(b & RTC_B_24H))
        hour = hour % 12 + (pm ? 12 : 0);
    unsigned century = decode(f[CENTURY], binary), month = decode(f[MONTH], binary);
    unsigned day = decode(f[DAY], binary);
    uint64_t year =
        (century >= 19 && century <= 25 ? century : 20) * 100u + decode(f[YEAR], binary);
    if (!same || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23) {
        log_warn("rtc", "no usable clock: the guest starts in 1970");
        return;
    }
    boot_time_s = days(year, month, day) * 86400 + hour * 3600u + decode(f[MINUTE], binary) * 60u +
                  decode(f[SECOND], binary);
}

uint64_t port_boot_time_s(uint64_t *tsc)
{
    *tsc = boot_time_tsc;
    return boot_time_s;
}
