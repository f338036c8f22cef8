/* What the files of `twokey token qualify` share. */
#ifndef TWOKEY_HSM_QUALIFY_H
#define TWOKEY_HSM_QUALIFY_H

#include "hsm/internal.h"

#define QUALIFY_MAC_BYTES 44 /* "AWS4" and a secret access key */

struct qualify {
	struct hsm *hsm;
	struct hsm_key *ec, *aes, *mac; /* NULL: could not be made */
	const char *made;               /* the key that was made last */
	uint8_t mac_value[QUALIFY_MAC_BYTES];
	struct buf wrapped;
};

/* A data key's worth of bytes into `wrapped`. */
must_check enum err_code hsm_qualify_wrap(struct qualify *qualify, struct err *err);

/* The answer when the key that is needed could not be made. */
must_check enum err_code hsm_qualify_missing(struct err *err);

/* qualify_custody.c: whoever has the process must not get a key out of the token. ERR_PRECONDITION: it does. */
must_check enum err_code hsm_qualify_unread(struct qualify *qualify, struct err *err);
must_check enum err_code hsm_qualify_unwrapped(struct qualify *qualify, struct err *err);

/* qualify_speed.c: calls back for each operation with 1, 2 and 4 threads. */
must_check enum err_code hsm_qualify_measure(struct qualify *qualify, const struct hsm_qualify *asked, struct err *err);

#endif
