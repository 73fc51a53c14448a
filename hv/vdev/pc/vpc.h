/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual PC: all devices of one VM, and what hv/vcpu asks of them. Shared between CPUs;
 * devices take LOCK_VDEV where more than one CPU can touch them. Interrupts reach a VCPU through
 * its local APIC's IRR (atomic) and ACTION_IRQ. Tested by tools/tests/test_vdev_*.c. */
#pragma once
#include "hv/coherency/coherency.h"
#include "hv/vdev/vbus.h"

struct vpc; /* hv/vdev/pc/vpc_state.h */
struct vpc_config {
    uint32_t ncpus;
    struct coherency *co; /* for action_post */
    uint64_t tsc_hz;
    uint64_t ram_top_low;  /* end of RAM below 4 GiB, bytes */
    uint64_t ram_above_4g; /* bytes */
    bool test;             /* debug-exit and test ports work */
    /* Ends the VM: ACPI S5 / reset line. Called on the CPU that did it, never returns control to
     * the guest. */
    void (*poweroff)(void *ctx);
    void (*reset)(void *ctx);
    /* Text of COM1 goes there; NULL: log_guest. No lock held. */
    void (*output)(void *ctx, const char *text, size_t n);
    /* test=1, port F4: may be NULL, then port_debug_exit is called directly. */
    void (*debug_exit)(void *ctx, uint32_t value);
    void *ctx;
};
size_t vpc_sizeof(void);
void vpc_init(struct vpc *pc, const struct vpc_config *cfg);
struct vbus *vpc_bus(struct vpc *pc);

/* --- local APIC of VCPU `cpu`, owner CPU only unless said --- */
/* INIT of that VCPU (registers to reset values, ID kept). */
void vlapic_reset(struct vpc *pc, uint32_t cpu);
/* Highest-priority deliverable vector (IRR above PPR), -1 none; 0: the 8259s have an interrupt for
 * this CPU, whose vector only vlapic_accept tells. Does not change state. */
int vlapic_pending(struct vpc *pc, uint32_t cpu);
/* The vector vlapic_pending returned is being injected: IRR -> ISR (or 8259 INTA). Returns the
 * vector, -1 if it vanished. */
int vlapic_accept(struct vpc *pc, uint32_t cpu);
/* Undoes vlapic_accept of a vector above 0: ISR -> IRR, as if the processor had not asked yet. */
void vlapic_give_back(struct vpc *pc, uint32_t cpu, uint8_t vector);
/* Sets a fixed interrupt pending and posts ACTION_IRQ, unless from_cpu == cpu: the owner looks at
 * vlapic_pending before every entry and halt. Any CPU. */
void vlapic_set_irr(struct vpc *pc, uint32_t from_cpu, uint32_t cpu, uint8_t vector, bool level);
/* End of the interrupt in service with the highest priority. */
void vlapic_eoi(struct vpc *pc, uint32_t cpu);
/* Would the EOI of `vector`, just accepted, do nothing but clear its in-service bit?
 * (Edge-triggered, nothing else in service or requested.) */
bool vlapic_eoi_plain(struct vpc *pc, uint32_t cpu, uint8_t vector);
bool vlapic_irr_any(struct vpc *pc, uint32_t cpu);
/* CR8 view of TPR, 0..15. */
uint8_t vlapic_get_cr8(struct vpc *pc, uint32_t cpu);
void vlapic_set_cr8(struct vpc *pc, uint32_t cpu, uint8_t cr8);
/* x2APIC MSRs 800..8FF and IA32_APIC_BASE (1B), TSC_DEADLINE (6E0). HV_INVALID: #GP. */
enum hv_err vlapic_rdmsr(struct vpc *pc, uint32_t cpu, uint32_t msr, uint64_t *value) HV_MUST_CHECK;
enum hv_err vlapic_wrmsr(struct vpc *pc, uint32_t cpu, uint32_t msr, uint64_t value) HV_MUST_CHECK;
/* The gpa of this VCPU's APIC page, or false if disabled or in x2APIC mode: hv/mmu maps no RAM
 * there; MMIO goes to vbus (FEE00000 by default). Owner CPU. */
bool vlapic_mmio_base(struct vpc *pc, uint32_t cpu, gpa_t *base);
/* INIT/SIPI/NMI of an ICR write become ACTION_* of the target; the SIPI vector is read here. */
/* An interrupt or NMI, by vector and delivery mode as the ICR has them, to a set of CPUs: by
 * hypercall. false: another delivery mode, or no legal vector. */
bool vlapic_ipi(struct vpc *pc, uint32_t cpu, cpuset_t to, uint32_t icr_low);
/* What a write of the ICR does, with a destination of 8 bits. */
void vlapic_command(struct vpc *pc, uint32_t cpu, uint32_t icr_low, uint32_t dest);
uint8_t vlapic_sipi_vector(struct vpc *pc, uint32_t cpu);

/* The write of an interrupt message (APM volume 2, 16.11; edge-triggered whatever it says). Any
 * CPU; addresses beside FEExxxxx reach nobody. */
void vpc_message(struct vpc *pc, uint32_t from, uint64_t address, uint32_t data);
/* The CPUs it would reach now. */
cpuset_t vpc_message_targets(const struct vpc *pc, uint64_t address);

/* --- time: all from port_tsc() --- */
/* Expires what is due on this CPU (LAPIC timer; CPU 0 also PIT, RTC) and returns the next absolute
 * TSC deadline of this CPU, UINT64_MAX none. Owner CPU, in every round of its loop: a deadline that
 * the CPU moved itself is not announced by ACTION_TIMER. */
uint64_t vpc_timers(struct vpc *pc, uint32_t cpu, uint64_t now);
/* One character of console input for COM1: a byte, or VPC_UART_BREAK. false: there is no room, keep
 * it; when there is, the calling CPU gets ACTION_INPUT (unless it makes the room itself: it looks
 * in every round of its loop). Any CPU's loop, no lock held. */
#define VPC_UART_BREAK 0x100u
bool vpc_uart_input(struct vpc *pc, unsigned what);
/* Has the guest the receiver's interrupt on: does somebody listen on COM1? Any CPU, no lock held.
 */
bool vpc_uart_listens(struct vpc *pc);
/* Has the guest said anything on its serial line or port E9 so far? Any CPU. */
bool vpc_output_seen(const struct vpc *pc);
/* Console text the guest wrote and that is still collected goes out now (it also does by itself
 * after 10 ms, and before power-off, reset and debug exit). For the other ends of a VM. Any CPU, no
 * lock held. */
void vpc_flush(struct vpc *pc);
/* Offers `size` bytes at `data`, which stay there, as a file of fw_cfg. Boot, before VCPUs run; at
 * most VPC_FW_FILES. The name has at most 55 characters. */
#define VPC_FW_FILES 8
void vpc_fw_file(struct vpc *pc, const char *name, const void *data, size_t size);
/* This VCPU, with CR0.NE=0, met an x87 error that stands: raises interrupt 13. false: it waits for
 * an interrupt before that instruction; true: port F0 was written since, the error is to be passed
 * over. Owner CPU. */
bool vpc_ferr(struct vpc *pc, uint32_t cpu);
/* How the guest wants to go on after INIT of the boot processor, by the far pointer in the BIOS
 * data area: the shutdown status in CMOS 0F. */
enum vpc_warm {
    VPC_WARM_NONE,
    VPC_WARM_JUMP, /* 5, 0Ah: there */
    VPC_WARM_MOVE, /* 9: the pointer is a stack with DS, ES, what POPA takes, IP, CS, FLAGS */
    VPC_WARM_IRET, /* 0Bh: a stack with IP, CS, FLAGS */
    VPC_WARM_RETF, /* 0Ch: a stack with IP, CS */
};
/* What CMOS 0F says, once; 5 ends the 8259s' interrupt first. Takes the lock. */
enum vpc_warm vpc_warm_start(struct vpc *pc);
/* The chipset pulses INIT: if the guest wants to go on, all CPUs get ACTION_INIT; else false, and
 * nothing happens. Takes the lock. */
bool vpc_warm_init(struct vpc *pc, uint32_t from);
/* The VM's PCI bus. A function is added by vpc_pci_add at boot, before VCPUs run and before the
 * tables of hv/vm/tables are built: with one on the bus they tell of lines and windows. Its lines
 * are pins 16 and on of the I/O APIC, and on the 8259s interrupts 10 (even lines) and 11. HV_NOMEM:
 * no room on the bus; HV_INVALID: the place is taken. */
#define VPC_PCI_PIN 16
#define VPC_PCI_IRQ 10
struct pci_bus;
struct pci_function;
struct pci_bus *vpc_pci(struct vpc *pc);
enum hv_err vpc_pci_add(struct vpc *pc, struct pci_function *f) HV_MUST_CHECK;
/* Gives the bus its window above 4 GiB, [base, end), multiples of 2 MiB. Boot, before functions. */
void vpc_pci_window(struct vpc *pc, uint64_t base, uint64_t end);
/* The window below 4 GiB begins there already, a multiple of 2 MiB above RAM. Likewise. */
void vpc_pci_low(struct vpc *pc, uint64_t base);
/* One text line of device state each. */
void vpc_dump(struct vpc *pc, void (*emit)(const char *line));

/* CPUID leaf 1 / B / 15h-style facts belong to hv/vcpu; ACPI tables are built by hv/vm from these.
 */
#define VPC_LAPIC_BASE 0xfee00000ull
#define VPC_IOAPIC_BASE 0xfec00000ull
#define VPC_IOAPIC_PINS 24
/* 82093AA, "I/O APIC Identification Register": bits 27:24. As in MADT and MP table: behind the
 * local APICs' ids; with more than 15 of them it is one of theirs, which are numbers of another
 * bus. */
#define VPC_IOAPIC_ID_MASK 0x0fu
static inline uint32_t vpc_ioapic_id(uint32_t ncpus)
{
    return ncpus & VPC_IOAPIC_ID_MASK;
}
#define VPC_PM_BASE 0x600   /* PM1a_EVT 4 bytes, PM1a_CNT at +4 (2), PM_TMR at +8 (4) */
#define VPC_PM_SLP_TYP_S5 5 /* DSDT \_S5 */
#define VPC_RESET_PORT 0xcf9
