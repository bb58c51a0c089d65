#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "device/cpu/cgroup.h"

typedef struct tree {
    char root[64];
} tree_t;

static int open_tree(void **state)
{
    tree_t *tree = calloc(1, sizeof(*tree));
    if (tree == NULL)
        return -1;
    (void)snprintf(tree->root, sizeof(tree->root), "/tmp/gpulet-cgroup-XXXXXX");
    *state = tree;
    return mkdtemp(tree->root) == NULL ? -1 : 0;
}

static int close_tree(void **state)
{
    char command[128];
    tree_t *tree = *state;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", tree->root);
    int rc = system(command);
    free(tree);
    return rc;
}

static void put(const tree_t *tree, const char *path, const char *text)
{
    char full[512];
    int length = snprintf(full, sizeof(full), "%s/%s", tree->root, path);
    assert_true(length > 0 && (size_t)length < sizeof(full));
    for (char *slash = strchr(full + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    assert_int_equal(gpulet_file_write(full, text, strlen(text), NULL), GPULET_OK);
}

static gpulet_cgroup_limits_t limits_of(const tree_t *tree)
{
    gpulet_cgroup_limits_t limits = {0};
    gpulet_error_t err = {""};
    if (gpulet_cgroup_read(&limits, tree->root, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return limits;
}

#define MOUNT_V2 "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void sees_no_limit_where_there_is_none(void **state)
{
    const tree_t *tree = *state;
    gpulet_cgroup_limits_t limits = limits_of(tree);
    assert_int_equal(gpulet_cgroup_cores(&limits), UINT32_MAX);
    assert_true(limits.memory_bytes == UINT64_MAX);
    put(tree, "proc/self/cgroup", "0::/user.slice/a\n");
    put(tree, "proc/self/mountinfo", MOUNT_V2);
    put(tree, "sys/fs/cgroup/user.slice/a/cpu.max", "max 100000\n");
    put(tree, "sys/fs/cgroup/user.slice/a/memory.max", "max\n");
    limits = limits_of(tree);
    assert_int_equal(gpulet_cgroup_cores(&limits), UINT32_MAX);
    assert_true(limits.memory_bytes == UINT64_MAX);
}

static void takes_the_lowest_limit_on_the_way_up(void **state)
{
    const tree_t *tree = *state;
    put(tree, "proc/self/cgroup", "0::/a/b/c\n");
    put(tree, "proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" MOUNT_V2);
    put(tree, "sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
    put(tree, "sys/fs/cgroup/a/b/cpu.max", "250000 50000\n");
    put(tree, "sys/fs/cgroup/a/cpu.max", "max 100000\n");
    put(tree, "sys/fs/cgroup/a/b/memory.max", "4294967296\n");
    put(tree, "sys/fs/cgroup/a/memory.max", "1073741824\n");
    gpulet_cgroup_limits_t limits = limits_of(tree);
    assert_int_equal(gpulet_cgroup_cores(&limits), 5);
    assert_int_equal(limits.memory_bytes, 1073741824);
}

static void counts_whole_cores_and_at_least_one(void **state)
{
    static const struct {
        const char *text;
        uint32_t cores;
    } rows[] = {{"150000 100000", 1}, {"200000 100000", 2}, {"50000 100000", 1},
                {"1000 100000", 1},   {"299999 100000", 2}, {"300000", 3}};
    const tree_t *tree = *state;
    put(tree, "proc/self/cgroup", "0::/\n");
    put(tree, "proc/self/mountinfo", MOUNT_V2);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put(tree, "sys/fs/cgroup/cpu.max", rows[i].text);
        gpulet_cgroup_limits_t limits = limits_of(tree);
        assert_int_equal(gpulet_cgroup_cores(&limits), rows[i].cores);
    }
}

static void understands_version_one(void **state)
{
    const tree_t *tree = *state;
    put(tree, "proc/self/cgroup",
        "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n3:cpuset:/\n0::/\n");
    put(tree, "proc/self/mountinfo",
        "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put(tree, "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "-1\n");
    put(tree, "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
    put(tree, "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "350000\n");
    put(tree, "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
    put(tree, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "536870912\n");
    put(tree, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    gpulet_cgroup_limits_t limits = limits_of(tree);
    assert_int_equal(gpulet_cgroup_cores(&limits), 3);
    assert_int_equal(limits.memory_bytes, 536870912);
}

/* Inside a container the mount shows the container's group as its root, while /proc/self/cgroup
 * still has the host's path. */
static void finds_its_group_inside_a_container(void **state)
{
    const tree_t *tree = *state;
    put(tree, "proc/self/cgroup", "0::/kubepods/pod1/c1/inner\n");
    put(tree, "proc/self/mountinfo",
        "30 23 0:26 /kubepods/pod1/c1 /sys/fs/my\\040cgroup rw - cgroup2 cgroup rw\n");
    put(tree, "sys/fs/my cgroup/cpu.max", "400000 100000\n");
    put(tree, "sys/fs/my cgroup/inner/cpu.max", "700000 100000\n");
    gpulet_cgroup_limits_t limits = limits_of(tree);
    assert_int_equal(gpulet_cgroup_cores(&limits), 4);
}

static void copes_with_a_group_outside_of_its_mount(void **state)
{
    const tree_t *tree = *state;
    put(tree, "proc/self/cgroup", "0::/../../other\n");
    put(tree, "proc/self/mountinfo", MOUNT_V2);
    put(tree, "sys/fs/cgroup/cpu.max", "200000 100000\n");
    gpulet_cgroup_limits_t limits = limits_of(tree);
    assert_int_equal(gpulet_cgroup_cores(&limits), 2);
}

static void names_the_file_that_makes_no_sense(void **state)
{
    static const char *const texts[] = {"",         "x 100000",  "100000 0",
                                        "100000 x", "-5 100000", "maximum"};
    const tree_t *tree = *state;
    gpulet_cgroup_limits_t limits;
    gpulet_error_t err = {""};
    put(tree, "proc/self/cgroup", "0::/\n");
    put(tree, "proc/self/mountinfo", MOUNT_V2);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        put(tree, "sys/fs/cgroup/cpu.max", texts[i]);
        assert_int_equal(gpulet_cgroup_read(&limits, tree->root, &err), GPULET_E_INVALID);
        assert_non_null(strstr(err.text, "/sys/fs/cgroup/cpu.max"));
    }
}

static void survives_odd_files_of_the_kernel(void **state)
{
    const tree_t *tree = *state;
    put(tree, "proc/self/cgroup", "garbage\n\n::\n:\n0:\n0::\n");
    put(tree, "proc/self/mountinfo", "a b\n-\n1 2 3 4 5 - \n1 2 3 4 5 6 - cgroup2\n" MOUNT_V2 "\n");
    gpulet_cgroup_limits_t limits = limits_of(tree);
    assert_int_equal(gpulet_cgroup_cores(&limits), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sees_no_limit_where_there_is_none, open_tree, close_tree),
        cmocka_unit_test_setup_teardown(takes_the_lowest_limit_on_the_way_up, open_tree,
                                        close_tree),
        cmocka_unit_test_setup_teardown(counts_whole_cores_and_at_least_one, open_tree, close_tree),
        cmocka_unit_test_setup_teardown(understands_version_one, open_tree, close_tree),
        cmocka_unit_test_setup_teardown(finds_its_group_inside_a_container, open_tree, close_tree),
        cmocka_unit_test_setup_teardown(copes_with_a_group_outside_of_its_mount, open_tree,
                                        close_tree),
        cmocka_unit_test_setup_teardown(names_the_file_that_makes_no_sense, open_tree, close_tree),
        cmocka_unit_test_setup_teardown(survives_odd_files_of_the_kernel, open_tree, close_tree),
    };
    return cmocka_run_group_tests_name("device.cgroup", tests, NULL, NULL);
}
