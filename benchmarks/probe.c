/* The command of the latency benchmark: append the monotonic time and the name that it was given to a file. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc != 3)
        return 2;
    char line[200];
    int length = snprintf(line, sizeof line, "%s %lld\n", argv[2], now.tv_sec * 1000000000LL + now.tv_nsec);
    int file = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0600);
    return file < 0 || write(file, line, length) != length;
}
