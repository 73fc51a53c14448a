/* SPDX-License-Identifier: BSD-2-Clause */
/* What a panic said, kept in a page that a warm reset leaves alone, for the next start. Tested by
 * the console group of `make check`. */
#pragma once

/* Finds the page, reports what the last run left in it, and empties it. Context: BSP, the first
 * allocation of all, so that every start on one machine finds the same page. */
void crash_init(void);
/* One line of a panic; what does not fit is dropped. Context: panic path, any CPU, one at a time.
 */
void crash_add(const char *line);
/* Out of the caches, which a reset forgets. */
void crash_flush(void);
