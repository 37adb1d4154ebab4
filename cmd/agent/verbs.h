/* The commands of the program besides run; each returns an exit status. Words: what stood beside
 * options. */
#ifndef CMD_AGENT_VERBS_H
#define CMD_AGENT_VERBS_H

#include "common/config/config.h"

int verb_enroll(const struct config *config); /* enroll JOIN-STRING|FILE|- */
int verb_status(const struct config *config);
int verb_spool(const struct config *config); /* spool inspect|list|verify */
int verb_reset(const struct config *config);
int verb_sandbox(const struct config *config); /* sandbox run|probe */
int verb_image(const struct config *config);   /* image import|list|remove */
int verb_config(const struct config *config);  /* config check|show|reference|man */

#endif
