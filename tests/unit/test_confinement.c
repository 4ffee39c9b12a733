/*
 * A confined process tries to break out in every way we know. Each attempt runs
 * in a fresh process that enters the library's own sandbox (confine_internal.h)
 * and ends with: ESCAPED (it worked), REFUSED (the call came back with an error),
 * or death by the kernel's hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "confine_internal.h"

enum {
	ESCAPED = 10,
	REFUSED = 11,
	NO_SANDBOX = 12
};

/* Made before the sandbox closes, as an attacker would have what the child holds. */
static struct {
	pid_t parent, bystander;
	int file;     /* open for reading and writing */
	int tcp_port; /* somebody listens there */
	struct sockaddr_un abstract;
	socklen_t abstract_bytes;
	int tcp, unix_fd; /* unconnected sockets */
} world;

/* ---- Attempts: true if it worked ---- */

static bool try_open(void)
{
	return open("/etc/passwd", O_RDONLY) >= 0;
}

static bool try_open_call(void)
{
#ifdef SYS_open
	return syscall(SYS_open, "/etc/passwd", O_RDONLY) >= 0;
#else
	return try_open();
#endif
}

static bool try_own_memory(void)
{
	return open("/proc/self/mem", O_RDWR) >= 0;
}

static bool try_parent_memory(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { &world, 1 };

	return process_vm_readv(world.parent, &here, 1, &there, 1, 0) == 1;
}

static bool try_write_parent_memory(void)
{
	char byte = 0;
	struct iovec here = { &byte, 1 }, there = { &world, 1 };

	return process_vm_writev(world.parent, &here, 1, &there, 1, 0) == 1;
}

static bool connect_tcp(int fd)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)world.tcp_port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	return connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

static bool try_connect_tcp(void)
{
	return connect_tcp(socket(AF_INET, SOCK_STREAM, 0));
}

static bool try_connect_held_tcp(void)
{
	return connect_tcp(world.tcp);
}

static bool try_connect_held_abstract(void)
{
	return connect(world.unix_fd, (struct sockaddr *)&world.abstract, world.abstract_bytes) ==
	       0;
}

static bool try_bind_tcp(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET };

	return bind(world.tcp, (struct sockaddr *)&to, sizeof to) == 0;
}

static bool try_send_to_tcp(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)world.tcp_port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	/* Fast open: a connection without connect(). */
	return sendto(world.tcp, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof to) >= 0;
}

static bool try_ptrace_parent(void)
{
	return ptrace(PTRACE_ATTACH, world.parent, NULL, NULL) == 0;
}

static bool try_seize_bystander(void)
{
	return ptrace(PTRACE_SEIZE, world.bystander, NULL, NULL) == 0;
}

static bool try_fork(void)
{
	return fork() >= 0;
}

static bool try_vfork(void)
{
	return syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL) >= 0;
}

static void *idle_thread(void *arg)
{
	return arg;
}

static bool try_thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, idle_thread, NULL) == 0;
}

static bool try_exec(void)
{
	char *argv[] = { NULL };

	return execve("/bin/true", argv, argv) == 0;
}

static bool try_execveat(void)
{
	char *argv[] = { NULL };

	return syscall(SYS_execveat, world.file, "", argv, argv, AT_EMPTY_PATH) == 0;
}

static bool try_kill_parent(void)
{
	return kill(world.parent, SIGUSR1) == 0;
}

static bool try_kill_bystander(void)
{
	return kill(world.bystander, SIGUSR1) == 0;
}

static bool try_tgkill_bystander(void)
{
	return syscall(SYS_tgkill, world.bystander, world.bystander, SIGABRT) == 0;
}

static bool try_signal_itself(void)
{
	return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1) == 0;
}

static bool try_pidfd(void)
{
	return syscall(SYS_pidfd_open, world.parent, 0) >= 0;
}

static bool try_queue_signal(void)
{
	siginfo_t info = { .si_signo = SIGUSR1, .si_code = SI_QUEUE };

	return syscall(SYS_rt_sigqueueinfo, world.parent, SIGUSR1, &info) == 0;
}

static bool try_prctl_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

static bool try_prctl_deathsig(void)
{
	return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) == 0;
}

static bool try_raise_limit(void)
{
	struct rlimit limit = { 100, 100 };

	return setrlimit(RLIMIT_NPROC, &limit) == 0;
}

static bool try_map_file(void)
{
	return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, world.file, 0) != MAP_FAILED;
}

static bool try_map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, world.file, 0) != MAP_FAILED;
}

static bool try_map_writable(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, world.file, 0) != MAP_FAILED;
}

static bool try_map_shared_to_read(void)
{
	return mmap(NULL, 4096, PROT_READ, MAP_SHARED, world.file, 0) != MAP_FAILED;
}

static bool try_map_shared(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, world.file, 0) != MAP_FAILED;
}

static bool try_write_file(void)
{
	return write(world.file, "x", 1) == 1;
}

static bool try_pwrite_file(void)
{
	return pwrite(world.file, "x", 1, 0) == 1;
}

static bool try_truncate_file(void)
{
	return ftruncate(world.file, 0) == 0;
}

static bool try_memfd(void)
{
	return memfd_create("x", 0) >= 0;
}

static bool try_dup(void)
{
	return dup(world.file) >= 0;
}

static bool try_socketpair(void)
{
	int pair[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0;
}

static bool try_io_uring(void)
{
	char params[512] = { 0 };

	return syscall(SYS_io_uring_setup, 4, params) >= 0;
}

static bool try_userfaultfd(void)
{
	return syscall(SYS_userfaultfd, 0) >= 0;
}

static bool try_perf(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attr };

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0) >= 0;
}

static bool try_bpf(void)
{
	char attr[128] = { 0 };

	return syscall(SYS_bpf, 0, attr, sizeof attr) >= 0;
}

static bool try_mount(void)
{
	return mount("none", "/tmp", "tmpfs", 0, NULL) == 0;
}

static bool try_unshare(void)
{
	return unshare(CLONE_NEWUSER) == 0;
}

static bool try_setns(void)
{
	return setns(world.file, 0) == 0;
}

static bool try_chroot(void)
{
	return chroot("/tmp") == 0;
}

static bool try_keyctl(void)
{
	return syscall(SYS_keyctl, 0, -3, 0) >= 0;
}

static bool try_ioctl(void)
{
	int n;

	return syscall(SYS_ioctl, world.file, 0x541b /* FIONREAD */, &n) == 0;
}

static bool try_fcntl(void)
{
	return fcntl(world.file, F_SETFL, 0) == 0;
}

static bool try_stat(void)
{
	struct stat st;

	return stat("/etc/passwd", &st) == 0;
}

static bool try_getdents(void)
{
	char room[256];

	return syscall(SYS_getdents64, world.file, room, sizeof room) >= 0;
}

static bool try_setuid(void)
{
	return setuid(0) == 0;
}

static bool try_seccomp(void)
{
	return syscall(SYS_seccomp, 2, 0, NULL) == 0;
}

#if defined(__x86_64__)
static bool try_32_bit_call(void)
{
	long rc;

	/* getpid by the 32-bit numbers, where 20 is another call's number here */
	__asm__ volatile("int $0x80" : "=a"(rc) : "a"(20) : "memory");
	return rc > 0;
}
#endif

#if !WEIR_SANITIZED /* their shadow memory leaves no room for a ceiling */
/* 4 GB against a limit of 64 MB plus what the sandbox allows above it. */
static bool try_memory_bomb(void)
{
	for (unsigned i = 0; i < 64; i++) {
		char *p = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		if (p == MAP_FAILED)
			return false;
		for (size_t at = 0; at < 64 << 20; at += 4096)
			p[at] = 1;
	}
	return true;
}
#endif

/* ---- The runner ---- */

enum stage {
	BEGIN,
	WHOLE
};

/* Sockets that this process holds before it is confined. */
static void hold_sockets(void)
{
	world.tcp = socket(AF_INET, SOCK_STREAM, 0);
	world.unix_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (world.tcp < 0 || world.unix_fd < 0)
		_exit(NO_SANDBOX);
}

/* Run an attempt in a new process; its exit status or the negative signal that ended it. */
static int run(enum stage stage, bool (*attempt)(void))
{
	pid_t parent = getpid(), pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		hold_sockets();
		if (confine_begin(parent, NULL) != 0)
			_exit(NO_SANDBOX);
		if (stage == WHOLE && confine(64 << 20, NULL) != 0)
			_exit(NO_SANDBOX);
		_exit(attempt() ? ESCAPED : REFUSED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static const struct attempt {
	const char *name;
	bool (*attempt)(void);
	int outcome; /* REFUSED, or the negative signal */
} attempts[] = {
	{ "openat", try_open, -SIGSYS },
	{ "open", try_open_call, -SIGSYS },
	{ "/proc/self/mem", try_own_memory, -SIGSYS },
	{ "process_vm_readv", try_parent_memory, -SIGSYS },
	{ "process_vm_writev", try_write_parent_memory, -SIGSYS },
	{ "socket and connect", try_connect_tcp, -SIGSYS },
	{ "connect a held socket", try_connect_held_tcp, -SIGSYS },
	{ "connect to an abstract socket", try_connect_held_abstract, -SIGSYS },
	{ "bind", try_bind_tcp, -SIGSYS },
	{ "sendto with fast open", try_send_to_tcp, -SIGSYS },
	{ "ptrace the parent", try_ptrace_parent, -SIGSYS },
	{ "ptrace another", try_seize_bystander, -SIGSYS },
	{ "fork", try_fork, -SIGSYS },
	{ "vfork", try_vfork, -SIGSYS },
	{ "a new thread", try_thread, REFUSED },
	{ "execve", try_exec, -SIGSYS },
	{ "execveat", try_execveat, -SIGSYS },
	{ "kill the parent", try_kill_parent, -SIGSYS },
	{ "kill another", try_kill_bystander, -SIGSYS },
	{ "tgkill another", try_tgkill_bystander, -SIGSYS },
	{ "signal itself", try_signal_itself, -SIGSYS },
	{ "pidfd_open", try_pidfd, -SIGSYS },
	{ "rt_sigqueueinfo", try_queue_signal, -SIGSYS },
	{ "prctl dumpable", try_prctl_dumpable, -SIGSYS },
	{ "prctl parent-death signal", try_prctl_deathsig, -SIGSYS },
	{ "raise a limit", try_raise_limit, -SIGSYS },
#if !WEIR_SANITIZED
	{ "memory bomb", try_memory_bomb, REFUSED },
#endif
	{ "map a file as code", try_map_code, -SIGSYS },
	{ "map a file writable", try_map_writable, -SIGSYS },
	{ "map a file shared", try_map_shared, -SIGSYS },
	{ "map a file shared, to read it", try_map_shared_to_read, -SIGSYS },
	{ "write to a held file", try_write_file, -SIGSYS },
	{ "pwrite to a held file", try_pwrite_file, -SIGSYS },
	{ "ftruncate a held file", try_truncate_file, -SIGSYS },
	{ "memfd_create", try_memfd, -SIGSYS },
	{ "dup", try_dup, -SIGSYS },
	{ "socketpair", try_socketpair, -SIGSYS },
	{ "io_uring_setup", try_io_uring, -SIGSYS },
	{ "userfaultfd", try_userfaultfd, -SIGSYS },
	{ "perf_event_open", try_perf, -SIGSYS },
	{ "bpf", try_bpf, -SIGSYS },
	{ "mount", try_mount, -SIGSYS },
	{ "unshare", try_unshare, -SIGSYS },
	{ "setns", try_setns, -SIGSYS },
	{ "chroot", try_chroot, -SIGSYS },
	{ "keyctl", try_keyctl, -SIGSYS },
	{ "ioctl", try_ioctl, -SIGSYS },
	{ "fcntl", try_fcntl, -SIGSYS },
	{ "stat", try_stat, -SIGSYS },
	{ "getdents", try_getdents, -SIGSYS },
	{ "setuid", try_setuid, -SIGSYS },
	{ "seccomp", try_seccomp, -SIGSYS },
#if defined(__x86_64__)
	{ "a 32-bit call", try_32_bit_call, -SIGSYS },
#endif
};

static void nothing_gets_out(void **state)
{
	unsigned wrong = 0;

	(void)state;
	for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
		int outcome = run(WHOLE, attempts[i].attempt);

		if (outcome != attempts[i].outcome) {
			print_error("%s: %d instead of %d\n", attempts[i].name, outcome,
				    attempts[i].outcome);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

/*
 * The first wall alone, without seccomp: what Landlock, limits and the missing
 * capabilities already refuse, also while the engine still warms up.
 */
static const struct attempt attempts_begin[] = {
	{ "openat", try_open, REFUSED },
	{ "/proc/self/mem", try_own_memory, REFUSED },
	{ "connect a held socket", try_connect_held_tcp, REFUSED },
	{ "connect to an abstract socket", try_connect_held_abstract, REFUSED },
	{ "bind", try_bind_tcp, REFUSED },
	{ "kill the parent", try_kill_parent, REFUSED },
	{ "kill another", try_kill_bystander, REFUSED },
	{ "ptrace the parent", try_ptrace_parent, REFUSED },
	{ "process_vm_writev", try_write_parent_memory, REFUSED },
	{ "execve", try_exec, REFUSED },
	{ "mount", try_mount, REFUSED },
	{ "chroot", try_chroot, REFUSED },
	{ "bpf", try_bpf, REFUSED },
	{ "grow a held file", try_write_file, -SIGXFSZ },
};

static void the_first_wall_stands_alone(void **state)
{
	unsigned wrong = 0;

	(void)state;
	for (size_t i = 0; i < sizeof attempts_begin / sizeof attempts_begin[0]; i++) {
		int outcome = run(BEGIN, attempts_begin[i].attempt);

		if (outcome != attempts_begin[i].outcome) {
			print_error("%s: %d instead of %d\n", attempts_begin[i].name, outcome,
				    attempts_begin[i].outcome);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

/* The same attempts succeed without any sandbox: else the tests above show nothing. */
static void the_attempts_are_real(void **state)
{
	static const struct attempt real[] = {
		{ "openat", try_open, ESCAPED },
		{ "connect", try_connect_tcp, ESCAPED },
		{ "connect a held socket", try_connect_held_tcp, ESCAPED },
		{ "connect to an abstract socket", try_connect_held_abstract, ESCAPED },
		{ "bind", try_bind_tcp, ESCAPED },
		{ "kill another", try_kill_bystander, ESCAPED },
		{ "a new thread", try_thread, ESCAPED },
		{ "map a file shared", try_map_shared, ESCAPED },
		{ "map a file shared, to read it", try_map_shared_to_read, ESCAPED },
		{ "map a file writable", try_map_writable, ESCAPED },
		{ "memfd_create", try_memfd, ESCAPED },
		{ "dup", try_dup, ESCAPED },
		{ "stat", try_stat, ESCAPED },
		{ "pwrite to a held file", try_pwrite_file, ESCAPED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof real / sizeof real[0]; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			hold_sockets();
			_exit(real[i].attempt() ? ESCAPED : REFUSED);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != ESCAPED)
			fail_msg("%s does not even work outside", real[i].name);
	}
}

static bool try_what_is_needed(void)
{
	char byte;
	void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED && mprotect(p, 1 << 20, PROT_READ | PROT_EXEC) == 0 &&
	       munmap(p, 1 << 20) == 0 && try_map_file() && pread(world.file, &byte, 1, 0) == 1 &&
	       close(world.file) == 0 && malloc(1 << 20) != NULL;
}

static bool try_abort(void)
{
	abort();
}

static void what_scanning_needs_works(void **state)
{
	(void)state;
	assert_int_equal(run(WHOLE, try_what_is_needed), ESCAPED);
	assert_int_equal(run(WHOLE, try_abort), -SIGABRT);
}

static void an_orphan_does_not_start(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) /* its parent is this process, not init */
		_exit(confine_begin(1, NULL) == -ERR_DIED ? REFUSED : ESCAPED);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), REFUSED);
}

static int listen_tcp(int *ret_port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &n) != 0)
		return -1;
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static int make_world(void **state)
{
	static int listeners[2];
	char name[64];

	world.parent = getpid();
	world.bystander = fork();
	if (world.bystander == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGUSR1, SIG_IGN);
		for (;;)
			pause();
	}
	signal(SIGUSR1, SIG_IGN);
	world.file = memfd_create("held", 0);
	if (write(world.file, "held", 4) != 4)
		return -1;
	listeners[0] = listen_tcp(&world.tcp_port);
	(void)snprintf(name, sizeof name, "weir-confinement-%d", (int)getpid());
	world.abstract.sun_family = AF_UNIX;
	memcpy(world.abstract.sun_path + 1, name, strlen(name));
	world.abstract_bytes =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	listeners[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listeners[1], (struct sockaddr *)&world.abstract, world.abstract_bytes) != 0 ||
	    listen(listeners[1], 64) != 0)
		return -1;
	*state = listeners;
	return listeners[0] >= 0 ? 0 : -1;
}

static int end_world(void **state)
{
	const int *listeners = *state;

	close(listeners[0]);
	close(listeners[1]);
	close(world.file);
	kill(world.bystander, SIGKILL);
	return waitpid(world.bystander, NULL, 0) == world.bystander ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_attempts_are_real),
		cmocka_unit_test(nothing_gets_out),
		cmocka_unit_test(the_first_wall_stands_alone),
		cmocka_unit_test(what_scanning_needs_works),
		cmocka_unit_test(an_orphan_does_not_start),
	};

	return cmocka_run_group_tests(tests, make_world, end_world);
}
