/* SPDX-License-Identifier: BSD-2-Clause */
/* Replaces the running kernel: pbkexec KERNEL INITRD COMMAND-LINE. Runs inside the guest. Tested by
 * the guests group of tools/check.py. */
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: pbkexec KERNEL INITRD COMMAND-LINE\n");
        return 2;
    }
    int kernel = open(argv[1], O_RDONLY), initrd = open(argv[2], O_RDONLY);
    if (kernel < 0 || initrd < 0) {
        perror("pbkexec: open");
        return 1;
    }
    if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], 0ul) != 0) {
        perror("pbkexec: kexec_file_load");
        return 1;
    }
    sync();
    syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
    perror("pbkexec: reboot");
    return 1;
}
