/* Runs the ClickHouse inside libchdb.so as a separate server: host LIBRARY FIFO ARGUMENTS...
 *
 * The arguments are those of `clickhouse local`; their last query counts the lines of FIFO, which this program holds
 * open, so the query, and with it the listeners, last until SIGTERM closes the FIFO. A clean end, unlike SIGKILL's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

static int fifo;
static sigset_t terminate;

static void *close_on_terminate(void *unused) {
    int received;
    (void)unused;
    sigwait(&terminate, &received);
    close(fifo);
    return NULL;
}

int main(int count, char **arguments) {
    int (*query)(int, char **);
    void *library;
    pthread_t closer;

    if (count < 3) {
        fprintf(stderr, "usage: host LIBRARY FIFO ARGUMENTS...\n");
        return 2;
    }
    /* The starter asked for this before exec; again for one that did not. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Read and write, so that opening does not wait for a writer and the reader never sees the end. */
    fifo = open(arguments[2], O_RDWR | O_CLOEXEC);
    if (fifo < 0) {
        perror(arguments[2]);
        return 2;
    }
    /* Blocked here, hence in every thread made later: only the closer ever sees SIGTERM. */
    sigemptyset(&terminate);
    sigaddset(&terminate, SIGTERM);
    if (pthread_sigmask(SIG_BLOCK, &terminate, NULL) != 0 ||
        pthread_create(&closer, NULL, close_on_terminate, NULL) != 0) {
        fprintf(stderr, "cannot wait for SIGTERM\n");
        return 2;
    }
    library = dlopen(arguments[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    *(void **)&query = dlsym(library, "chdb_query_cmdline");
    if (query == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    return query(count - 3, arguments + 3);
}
