/* static_program [MODE]: uses the simulated devices with system calls only. static_program.sh links it statically,
 * so that it cannot load libxensim.so. Without MODE, it checks all devices and prints its domain ID. Modes:
 *   privileged  also expect that hypercalls are allowed in a guest
 *   inherited   only check descriptor 9, which another program opened
 *   hold        bind a port, print it, and wait for a signal
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIND_VIRQ _IOC(_IOC_NONE, 'E', 0, 4)
#define BIND_INTERDOMAIN _IOC(_IOC_NONE, 'E', 1, 8)
#define BIND_UNBOUND _IOC(_IOC_NONE, 'E', 2, 4)
#define UNBIND _IOC(_IOC_NONE, 'E', 3, 4)
#define NOTIFY _IOC(_IOC_NONE, 'E', 4, 4)
#define RESET _IOC(_IOC_NONE, 'E', 5, 0)
#define RESTRICT _IOC(_IOC_NONE, 'E', 6, 2)
#define HYPERCALL _IOC(_IOC_NONE, 'P', 0, 48)
#define RESTRICT_PRIVCMD _IOC(_IOC_NONE, 'P', 6, 2)

#define CHECK(condition)                                                                           \
	do {                                                                                           \
		if (!(condition)) {                                                                        \
			printf("static_program.c:%d: %s: %s\n", __LINE__, #condition, strerror(errno));        \
			exit(1);                                                                               \
		}                                                                                          \
	} while (0)

static unsigned self;
static void *volatile invalid = (void *)16;

static int open_device(const char *path, int flags)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);

	CHECK(fd >= 0);
	return fd;
}

static int bind_unbound(int fd)
{
	int port = ioctl(fd, BIND_UNBOUND, &self);

	CHECK(port > 0);
	return port;
}

static int is_ready(int fd)
{
	struct pollfd poll_fd = {fd, POLLIN, 0};

	return poll(&poll_fd, 1, 0);
}

static uint32_t next_event(int fd)
{
	uint32_t port = 0;

	CHECK(read(fd, &port, sizeof port) == sizeof port);
	return port;
}

static int bind_interdomain(int fd, int remote_port)
{
	unsigned remote[2] = {self, (unsigned)remote_port};
	int port = ioctl(fd, BIND_INTERDOMAIN, remote);

	CHECK(port > 0);
	/* Xen sends an event to the new port, because earlier ones may have been lost. */
	CHECK(next_event(fd) == (uint32_t)port && write(fd, &port, 4) == 4);
	return port;
}

static void notify(int fd, int port)
{
	CHECK(ioctl(fd, NOTIFY, &port) == 0);
}

/* Sends an event through `sender` and expects it at `receiver`. */
static void pass_event(int fd, int sender, int receiver)
{
	notify(fd, sender);
	CHECK(next_event(fd) == (uint32_t)receiver);
}

static unsigned check_store(void)
{
	struct {
		uint32_t type, request, transaction, length;
		char payload[16];
	} message = {2, 7, 0, 6, "domid"};
	int fd = open_device("/dev/xen/xenbus", O_RDWR | O_CLOEXEC);

	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(write(fd, &message, 16 + message.length) == 16 + (ssize_t)message.length);
	CHECK(read(fd, &message, 16) == 16 && message.type == 2 && message.request == 7);
	CHECK(message.length < sizeof message.payload);
	CHECK(read(fd, message.payload, message.length) == (ssize_t)message.length);
	message.payload[message.length] = '\0';
	close(fd);
	return (unsigned)strtoul(message.payload, NULL, 10);
}

static void check_files(void)
{
	char text[32] = "";
	struct stat facts;
	struct statx extended;
	int fd = open_device("/sys/hypervisor/type", O_RDONLY);

	CHECK(read(fd, text, sizeof text) == 4 && memcmp(text, "xen\n", 4) == 0);
	close(fd);
	fd = open_device("/proc/xen/capabilities", O_RDONLY);
	CHECK(read(fd, text, sizeof text) == (self == 0 ? 10 : 0));
	CHECK(self != 0 || memcmp(text, "control_d\n", 10) == 0);
	close(fd);

	CHECK(stat("/dev/xen/evtchn", &facts) == 0 && S_ISCHR(facts.st_mode) && major(facts.st_rdev) == 10);
	CHECK(lstat("/dev/xen/evtchn", &facts) == 0 && S_ISCHR(facts.st_mode));
	CHECK(syscall(SYS_statx, AT_FDCWD, "/dev/xen/xenbus", 0, STATX_BASIC_STATS, &extended) == 0);
	CHECK(S_ISCHR(extended.stx_mode) && extended.stx_rdev_major == 10);
	CHECK(stat("/proc/xen/capabilities", &facts) == 0 && S_ISREG(facts.st_mode));
	CHECK(stat("/proc/xen/nothing", &facts) == -1 && errno == ENOENT);
	CHECK(access("/dev/xen/privcmd", R_OK) == 0);
	CHECK(faccessat(AT_FDCWD, "/dev/xen/nothing", F_OK, AT_EACCESS) == -1 && errno == ENOENT);
	/* The kernel's own answers. */
	CHECK(stat("/proc/self/exe", &facts) == 0);
	CHECK(syscall(SYS_openat, AT_FDCWD, invalid, O_RDONLY) == -1 && errno == EFAULT);
	CHECK(ioctl(0, NOTIFY, &self) == -1 && (errno == ENOTTY || errno == EBADF));
}

static void check_events(void)
{
	int fd = open_device("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
	int first = bind_unbound(fd), second = bind_interdomain(fd, first);
	uint32_t ports[2];
	struct iovec parts[2] = {{&ports[0], 4}, {&ports[1], 4}};

	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	pass_event(fd, second, first);
	notify(fd, second); /* masked */
	CHECK(!is_ready(fd));
	CHECK(write(fd, &first, 4) == 4);
	CHECK(is_ready(fd) && next_event(fd) == (uint32_t)first);

	/* Two ports at once; an incomplete port is ignored. */
	pass_event(fd, first, second);
	notify(fd, first);
	notify(fd, second);
	CHECK(!is_ready(fd));
	ports[0] = (uint32_t)first;
	ports[1] = (uint32_t)second;
	CHECK(write(fd, ports, 8) == 8);
	CHECK(read(fd, ports, 8) == 8);
	CHECK(!is_ready(fd));
	CHECK(writev(fd, parts, 2) == 8);
	CHECK(write(fd, ports, 3) == 0 && write(fd, ports, 0) == 0);
	CHECK(write(fd, invalid, 4) == -1 && errno == EFAULT);
	pass_event(fd, first, second);
	pass_event(fd, second, first);

	/* The ports that a reset discards stay masked. */
	CHECK(write(fd, ports, 8) == 8);
	notify(fd, second);
	CHECK(is_ready(fd) && ioctl(fd, RESET, 0) == 0 && !is_ready(fd));
	CHECK(write(fd, &first, 4) == 4);

	CHECK(ioctl(fd, UNBIND, &second) == 0);
	CHECK(ioctl(fd, UNBIND, &second) == -1 && errno == ENOTCONN);
	CHECK(ioctl(fd, NOTIFY, &second) == -1 && errno == ENOTCONN);
	CHECK(ioctl(fd, NOTIFY, invalid) == -1 && errno == EFAULT);
	CHECK(ioctl(fd, _IOC(_IOC_NONE, 'E', 99, 64), ports) == -1 && (errno == ENOSYS || errno == ENOTTY));
	CHECK(ioctl(fd, RESTRICT, &(uint16_t){9}) == 0);
	CHECK(ioctl(fd, BIND_VIRQ, &(unsigned){1}) == -1 && errno == EACCES);
	close(fd);
}

static void check_duplicates(void)
{
	int fd = open_device("/dev/xen/evtchn", O_RDWR | O_NONBLOCK), copy = dup(fd), status;
	int first = bind_unbound(copy), second = bind_interdomain(copy, first);
	uint32_t none;
	pid_t child;

	CHECK(fcntl(fd, F_GETFD) == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK));
	CHECK(read(fd, &none, 4) == -1 && errno == EAGAIN);
	close(fd);
	pass_event(copy, second, first);
	CHECK(write(copy, &first, 4) == 4);
	child = fork();
	if (child == 0) {
		pass_event(copy, second, first);
		CHECK(write(copy, &first, 4) == 4);
		exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	pass_event(copy, second, first);
	close(copy);
	/* The ports were closed with the last descriptor. */
	fd = open_device("/dev/xen/evtchn", O_RDWR);
	CHECK(ioctl(fd, NOTIFY, &first) == -1 && errno == ENOTCONN);
	close(fd);
}

static void on_signal(int signal)
{
	(void)signal;
}

/* Opens, binds and closes; with a wrong restart of an interrupted call, handles or ports would be left. */
static void *run_thread(void *unused)
{
	for (int i = 0; i < 50; i++) {
		int fd = open_device("/dev/xen/evtchn", O_RDWR);
		int first = bind_unbound(fd), second = bind_interdomain(fd, first);

		pass_event(fd, second, first);
		CHECK(ioctl(fd, UNBIND, &second) == 0 && ioctl(fd, UNBIND, &first) == 0);
		close(fd);
	}
	return unused;
}

static void check_threads(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	pthread_t threads[4];

	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, run_thread, NULL) == 0);
	for (int i = 0; i < 400; i++) {
		pthread_kill(threads[i % 4], SIGUSR1);
		usleep(200);
	}
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static void check_limits(void)
{
	struct rlimit limit, low = {64, 64};

	CHECK(open("/dev/xen/gntdev", O_RDWR) == -1 && errno == ENODEV);
	CHECK(open("/dev/xen/gntalloc", O_RDWR) == -1 && errno == ENODEV);
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	low.rlim_max = limit.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
	CHECK(open("/dev/xen/evtchn", O_RDWR) == -1 && errno == EMFILE);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* Restricting a description affects its duplicates, but no other description. */
static void check_restriction(void)
{
	int fd = open_device("/proc/xen/privcmd", O_RDWR), copy = dup(fd);
	uint64_t version[6] = {17, 0};

	CHECK(ioctl(fd, RESTRICT_PRIVCMD, &(uint16_t){1}) == 0);
	CHECK(ioctl(copy, HYPERCALL, version) == -1 && errno == EPERM);
	CHECK(ioctl(copy, RESTRICT_PRIVCMD, &(uint16_t){1}) == 0);
	CHECK(ioctl(copy, RESTRICT_PRIVCMD, &(uint16_t){2}) == -1 && errno == EINVAL);
	close(copy);
	close(fd);
	fd = open_device("/dev/xen/privcmd", O_RDWR);
	CHECK(ioctl(fd, HYPERCALL, version) >> 16 == 4);
	close(fd);
}

static void check_hypercalls(int allowed)
{
	int fd = open_device("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
	char text[16] = "";
	uint64_t version[6] = {17, 0}, extra[6] = {17, 1, (uintptr_t)text}, unknown[6] = {99};
	/* The status of port 1 of this domain: struct evtchn_status */
	struct {
		uint16_t domain;
		uint32_t port, status, vcpu;
		uint8_t rest[16];
	} port = {0x7ff0, 1, 99, 99, ""};
	uint64_t status[6] = {32, 5, (uintptr_t)&port};
	int result = ioctl(fd, HYPERCALL, version);

	if (allowed) {
		CHECK(result >> 16 == 4);
		CHECK(ioctl(fd, HYPERCALL, extra) == 0 && text[0] == '.');
		CHECK(ioctl(fd, HYPERCALL, status) == 0 && port.status < 6 && port.vcpu == 0);
		extra[2] = 16;
		CHECK(ioctl(fd, HYPERCALL, extra) == -1 && errno == EFAULT);
		CHECK(ioctl(fd, HYPERCALL, unknown) == -1 && errno == ENOSYS);
	} else {
		CHECK(result == -1 && errno == EPERM);
	}
	CHECK(ioctl(fd, _IOC(_IOC_NONE, 'P', 99, 0), 0) == -1 && (errno == ENOTTY || errno == EFAULT));
	close(fd);
}

static void check_inherited(int fd)
{
	int first = bind_unbound(fd), second = bind_interdomain(fd, first);

	pass_event(fd, second, first);
	CHECK(write(fd, &first, 4) == 4);
	pass_event(fd, second, first);
}

static void hold_port(void)
{
	int fd = open_device("/dev/xen/evtchn", O_RDWR);

	printf("%d\n", bind_unbound(fd));
	fflush(stdout);
	pause();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	self = check_store();
	if (strcmp(mode, "hold") == 0) {
		hold_port();
		return 1;
	}
	if (strcmp(mode, "inherited") == 0) {
		check_inherited(9);
		return 0;
	}
	check_files();
	check_events();
	check_duplicates();
	check_threads();
	check_limits();
	if (self == 0 || strcmp(mode, "privileged") == 0) {
		check_hypercalls(1);
		check_restriction();
	} else {
		check_hypercalls(0);
	}
	printf("domain %u\n", self);
	return 0;
}
