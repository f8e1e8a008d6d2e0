/* The line protocol: commands that end with '%', answers that are lines. docs/board-protocol.md.
 *
 * A plain command (`infer 1%`) gets plain lines, as in MLPerf Tiny, for people and other tools. A
 * framed one (`17:infer 1*1F2E3D4C%`) carries a number and a CRC-32 of all before the star; its
 * answers carry the same. No memory is taken but struct link; nothing here knows a board.
 */
#ifndef REFMICRO_LINK_H
#define REFMICRO_LINK_H

#include <stddef.h>
#include <stdint.h>

#define LINK_COMMAND_CHARS 512u

enum link_event {
    LINK_NOTHING, /* the command goes on */
    LINK_COMMAND, /* a whole command: link->text */
    LINK_REPEATED, /* the framed command that came last, once more: it must not run again */
    LINK_DAMAGED /* not understood: too long, not text, or not what its CRC says */
};

struct link {
    void (*write)(uint8_t byte);
    char *text;      /* the command, without number and CRC */
    uint32_t number; /* of the framed command at hand; */
    int framed;      /* 0: plain */
    uint32_t last;   /* number of the framed command that came last */
    int has_last;
    uint32_t crc; /* of the answer's line so far */
    size_t length;
    int overlong;
    char buffer[LINK_COMMAND_CHARS + 1];
};

/* CRC-32 as zlib's, zip's and Ethernet's; start with 0, pass the result on for more bytes. */
uint32_t link_crc32(uint32_t crc, const void *bytes, size_t size);

void link_start(struct link *link, void (*write)(uint8_t byte));

/* Takes one received byte. */
enum link_event link_receive(struct link *link, uint8_t byte);

/* One line of an answer: begin, then any of the others, then end. */
void link_begin(struct link *link);
void link_text(struct link *link, const char *text);
void link_number(struct link *link, uint32_t number);
void link_hex(struct link *link, const uint8_t *bytes, size_t size);
void link_hex32(struct link *link, uint32_t number);
void link_end(struct link *link);

/* A decimal number at *text, which moves behind it; 0 and no move if there is none or it is over
 * 32 bits. */
int link_parse_number(char **text, uint32_t *number);

/* The value of a hexadecimal digit, or -1. */
int link_hex_digit(char c);

#endif
