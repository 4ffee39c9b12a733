#include "confine_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	/* The socket, standard streams, those of a request, which are closed before the next; and
	 * some air. */
	CONFINE_FILES_MAX = 32,
	/* The scanning thread's stack and what fragmentation may cost above the watched ceiling. */
	CONFINE_MEMORY_AIR = 768 << 20,
};

/* What the headers of Debian 12 do not know yet; values from landlock(7). */
#define FS_REFER (1ULL << 13)     /* ABI 2 */
#define FS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define NET_ALL 3ULL              /* ABI 4: bind and connect of TCP */
#define FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define SCOPE_ALL 3ULL            /* ABI 6: abstract unix sockets, signals */

struct ruleset_attr {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

/* Where libmagic looks (magic_getpath) and where Debian's links lead. */
static const char *const magic_paths[] = { "/etc/magic", "/usr/share/misc", "/usr/share/file",
					   "/usr/lib/file" };

static int ruleset_new(int *ret_fd, struct err *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 1)
		return err_set(err, ERR_FORBIDDEN,
			       "this kernel has no Landlock (%s): scanning would not be confined",
			       strerror(errno));
	struct ruleset_attr attr = { .fs = LANDLOCK_ACCESS_FS_REFER - 1 };
	size_t bytes = sizeof attr.fs;

	if (abi >= 2)
		attr.fs |= FS_REFER;
	if (abi >= 3)
		attr.fs |= FS_TRUNCATE;
	if (abi >= 4) {
		attr.net = NET_ALL;
		bytes = 2 * sizeof attr.fs;
	}
	if (abi >= 5)
		attr.fs |= FS_IOCTL_DEV;
	if (abi >= 6) {
		attr.scoped = SCOPE_ALL;
		bytes = sizeof attr;
	}
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, bytes, 0);

	if (fd < 0)
		return err_set(err, ERR_FORBIDDEN, "making a Landlock rule set: %s",
			       strerror(errno));
	*ret_fd = fd;
	return 0;
}

static int ruleset_enter(int fd, struct err *err)
{
	long rc = syscall(SYS_landlock_restrict_self, fd, 0);
	int sys = errno;

	close(fd);
	return rc == 0 ? 0 : err_set(err, ERR_FORBIDDEN, "entering Landlock: %s", strerror(sys));
}

static int landlock_magic_only(struct err *err)
{
	int ruleset;

	TRY(ruleset_new(&ruleset, err));
	for (size_t i = 0; i < sizeof magic_paths / sizeof magic_paths[0]; i++) {
		struct landlock_path_beneath_attr beneath = {
			.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
			.parent_fd = open(magic_paths[i], O_PATH | O_CLOEXEC),
		};

		if (beneath.parent_fd < 0)
			continue; /* not on this system; libmagic will say if it needed it */
		long rc = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH,
				  &beneath, 0);
		int sys = errno;

		close(beneath.parent_fd);
		if (rc != 0) {
			close(ruleset);
			return err_set(err, ERR_FORBIDDEN, "adding '%s' to Landlock: %s",
				       magic_paths[i], strerror(sys));
		}
	}
	return ruleset_enter(ruleset, err);
}

static int landlock_nothing(struct err *err)
{
	int ruleset;

	TRY(ruleset_new(&ruleset, err));
	return ruleset_enter(ruleset, err);
}

static int limit_to(__rlimit_resource_t what, uint64_t max, struct err *err)
{
	struct rlimit limit;

	if (getrlimit(what, &limit) != 0)
		return err_sys(err, errno, "reading a resource limit");
	if (limit.rlim_max > max)
		limit.rlim_max = max;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(what, &limit) != 0)
		return err_sys(err, errno, "lowering a resource limit");
	return 0;
}

static int drop_capabilities(struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capset, &head, none) != 0)
		return err_sys(err, errno, "dropping capabilities");
	return 0;
}

int confine_begin(pid_t parent, struct err *err)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return err_sys(err, errno, "tying to the parent");
	if (parent != 0 && getppid() != parent)
		return err_set(err, ERR_DIED, "the parent is gone already");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_sys(err, errno, "setting no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return err_sys(err, errno, "refusing to be traced");
	TRY(drop_capabilities(err));
	TRY(limit_to(RLIMIT_CORE, 0, err));
	TRY(limit_to(RLIMIT_FSIZE, 0, err));
	TRY(limit_to(RLIMIT_NOFILE, CONFINE_FILES_MAX, err));
	TRY(limit_to(RLIMIT_MSGQUEUE, 0, err));
	TRY(limit_to(RLIMIT_MEMLOCK, 0, err));
	return landlock_magic_only(err);
}

/* Calls without conditions. Everything here works on memory or on what is held. */
static const int calls_allowed[] = {
	/* the talk */
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(close),
	/* samples and bundles */
	SCMP_SYS(pread64),
	/* memory: executable too, the engine makes code */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(mprotect),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	/* threads that exist: the engine's clock */
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(membarrier),
	/* time */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(restart_syscall),
	/* signals of its own: the runtime of compiled conditions traps faults */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	/* who am I, how much memory (qsort asks), randomness of hash tables */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(sysinfo),
	SCMP_SYS(getrandom),
	/* the end */
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* The macros of libseccomp leave a field out that means nothing here. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
static int add_conditional(scmp_filter_ctx ctx)
{
	uint64_t pid = (uint64_t)getpid();
	int rc = 0;

	/* Private memory; and files, but only to read them: none can be written through a map. */
	rc |= seccomp_rule_add(
		ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
		SCMP_A3(SCMP_CMP_MASKED_EQ, 0x0f | MAP_ANONYMOUS, MAP_PRIVATE | MAP_ANONYMOUS),
		SCMP_A4(SCMP_CMP_MASKED_EQ, 0xffffffff, 0xffffffff));
	rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
			       SCMP_A2(SCMP_CMP_EQ, PROT_READ), SCMP_A3(SCMP_CMP_EQ, MAP_PRIVATE));
	/* abort() and nothing else */
	rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 2, SCMP_A0(SCMP_CMP_EQ, pid),
			       SCMP_A2(SCMP_CMP_EQ, SIGABRT));
	/* last words */
	rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1,
			       SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO));
	rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(writev), 1,
			       SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO));
	/* No new threads: the engine then works on the stack it is on, which is large. */
	rc |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	rc |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAGAIN), SCMP_SYS(clone), 1,
			       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	return rc;
}
#pragma GCC diagnostic pop

static int seccomp_enter(struct err *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (ctx == NULL)
		return err_set(err, ERR_FORBIDDEN, "libseccomp does not start");
	int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	rc |= seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	rc |= seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < sizeof calls_allowed / sizeof calls_allowed[0]; i++)
		rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls_allowed[i], 0);
	rc |= add_conditional(ctx);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc != 0)
		return err_set(
			err, ERR_FORBIDDEN,
			"seccomp filters do not work here (%s): scanning would not be confined",
			strerror(-rc));
	return 0;
}

int confine(uint64_t memory_max, struct err *err)
{
	TRY(limit_to(RLIMIT_NPROC, 0, err));
#if WEIR_SANITIZED
	(void)memory_max; /* shadow memory counts as data */
#else
	TRY(limit_to(RLIMIT_DATA, memory_max + CONFINE_MEMORY_AIR, err));
#endif
	TRY(landlock_nothing(err));
	return seccomp_enter(err);
}
