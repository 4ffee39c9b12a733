#ifndef SERVICE_CRASH_H
#define SERVICE_CRASH_H

/*
 * Report of a crash of the server itself: install once, before service_open, so
 * that the next start knows which analyses were under way. One that stops the
 * server three times is not tried again.
 */
void crash_handlers_install(const char *data);
#endif
