/* foreign_driver: the first half of a PV driver, in plain C with Xen's own
 * libraries. It shares a page with domain 0, writes a greeting to it, and
 * publishes the grant reference and an unbound port in xenstore. It does not
 * use xenpv; test_foreign_driver.sh shows how to test such a program in the
 * simulator.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

static int publish(struct xs_handle *store, const char *node, uint32_t value)
{
	char text[16];
	int length = snprintf(text, sizeof text, "%u", value);

	return xs_write(store, XBT_NULL, node, text, (unsigned)length) ? 0 : -1;
}

int main(void)
{
	struct xs_handle *store = xs_open(0);
	xengntshr_handle *grants = xengntshr_open(NULL, 0);
	xenevtchn_handle *events = xenevtchn_open(NULL, 0);
	uint32_t reference;
	xenevtchn_port_or_error_t port;
	char *page;

	if (!store || !grants || !events) {
		perror("foreign_driver: open");
		return 1;
	}
	page = xengntshr_share_pages(grants, 0, 1, &reference, 1);
	port = xenevtchn_bind_unbound_port(events, 0);
	if (!page || port < 0) {
		perror("foreign_driver: share a page, bind a port");
		return 1;
	}
	strcpy(page, "hello, backend");
	if (publish(store, "data/ring-ref", reference) ||
	    publish(store, "data/event-channel", (uint32_t)port)) {
		perror("foreign_driver: xs_write");
		return 1;
	}
	printf("published grant %u and port %d\n", reference, port);
	xenevtchn_close(events);
	xengntshr_unshare(grants, page, 1);
	xengntshr_close(grants);
	xs_close(store);
	return 0;
}
