/* SPDX-License-Identifier: BSD-2-Clause */
/* AMD SVM as a vendor of VCPUs: the table boot/main.c installs. Tested by every boot. */
#pragma once
#include "hv/vcpu/vcpu.h"

extern const struct vcpu_ops svm_ops;
/* For the panic path: the control block of this CPU's VCPU as text, nothing if there is none. */
void svm_panic_dump(void (*emit)(const char *line));
