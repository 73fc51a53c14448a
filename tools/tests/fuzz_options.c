/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzer of the hypervisor's command line: any bytes leave every value in range. */
#include "hv/base/log.h"
#include "hv/base/options.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void warn(const char *line)
{
    for (; *line; line++)
        if ((unsigned char)*line < ' ' || (unsigned char)*line > '~')
            abort(); /* warnings go to terminals */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hv_options o;
    char *s = malloc(size + 1);
    if (!s)
        return 0;
    memcpy(s, data, size);
    s[size] = 0;
    options_parse(&o, s, warn);
    free(s);
    if (o.coherency > COHERENCY_SHOOTDOWN || o.overflow > OVERFLOW_SHOOTDOWN || o.mmu > MMU_REF ||
        o.hvsig > HVSIG_HYPERV || o.audit > 3 || o.loglvl > LOG_DEBUG || o.smp > HV_MAX_CPUS ||
        o.nconsoles > OPT_MAX_CONSOLES)
        abort();
    for (unsigned i = 0; i < o.nconsoles; i++)
        if (!memchr(o.console[i], 0, OPT_CONSOLE_LEN) || !o.console[i][0])
            abort();
    return 0;
}
