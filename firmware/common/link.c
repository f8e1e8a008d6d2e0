/* See link.h. CRC-32: ISO 3309, reflected polynomial 0xEDB88320, four bits at a time. */
#include "link.h"

static uint32_t crc_step(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
        0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
        0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    crc = (crc >> 4) ^ table[(crc ^ byte) & 15u];
    return (crc >> 4) ^ table[(crc ^ ((uint32_t)byte >> 4)) & 15u];
}

uint32_t link_crc32(uint32_t crc, const void *bytes, size_t size)
{
    const uint8_t *at = (const uint8_t *)bytes;
    crc = ~crc;
    while (size--) {
        crc = crc_step(crc, *at++);
    }
    return ~crc;
}

void link_start(struct link *link, void (*write)(uint8_t byte))
{
    link->write = write;
    link->text = link->buffer;
    link->number = link->last = link->crc = 0;
    link->framed = link->has_last = link->overlong = 0;
    link->length = 0;
}

int link_hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

int link_parse_number(char **text, uint32_t *number)
{
    char *at = *text;
    uint32_t sum = 0;
    if (*at < '0' || *at > '9') {
        return 0;
    }
    while (*at >= '0' && *at <= '9') {
        uint32_t digit = (uint32_t)(*at++ - '0');
        if (sum > (UINT32_MAX - digit) / 10u) {
            return 0;
        }
        sum = sum * 10u + digit;
    }
    *text = at;
    *number = sum;
    return 1;
}

/* What a whole command in link->buffer is. */
static enum link_event classify(struct link *link)
{
    char *at = link->buffer, *end = link->buffer + link->length;
    char *star = NULL;
    uint32_t number = 0, crc = 0;
    int colon = 0;
    for (char *c = at; c < end; c++) {
        if (*c < ' ' || *c > '~') {
            return LINK_DAMAGED;
        }
        star = *c == '*' ? c : star;
        colon |= *c == ':';
    }
    link->framed = 0;
    link->text = link->buffer;
    if (!star && !colon) {
        return LINK_COMMAND; /* plain commands hold neither */
    }
    if (!star || end - star != 9 || !link_parse_number(&at, &number) || *at != ':') {
        return LINK_DAMAGED;
    }
    for (char *c = star + 1; c < end; c++) {
        int digit = link_hex_digit(*c);
        if (digit < 0) {
            return LINK_DAMAGED;
        }
        crc = crc << 4 | (uint32_t)digit;
    }
    if (crc != link_crc32(0, link->buffer, (size_t)(star - link->buffer))) {
        return LINK_DAMAGED;
    }
    *star = 0;
    link->text = at + 1;
    link->framed = 1;
    link->number = number;
    if (link->has_last && link->last == number) {
        return LINK_REPEATED;
    }
    link->has_last = 1;
    link->last = number;
    return LINK_COMMAND;
}

enum link_event link_receive(struct link *link, uint8_t byte)
{
    enum link_event event;
    if (byte != '%') {
        if (link->length == 0 && (byte == '\r' || byte == '\n' || byte == ' ')) {
            return LINK_NOTHING; /* a person's Enter after the command before */
        }
        if (link->length < LINK_COMMAND_CHARS) {
            link->buffer[link->length++] = (char)byte;
        } else {
            link->overlong = 1;
        }
        return LINK_NOTHING;
    }
    link->buffer[link->length] = 0;
    link->framed = 0;
    event = link->overlong ? LINK_DAMAGED : classify(link);
    link->length = 0;
    link->overlong = 0;
    return event;
}

static void put(struct link *link, char c)
{
    link->crc = crc_step(link->crc, (uint8_t)c);
    link->write((uint8_t)c);
}

void link_text(struct link *link, const char *text)
{
    while (*text) {
        put(link, *text++);
    }
}

void link_number(struct link *link, uint32_t number)
{
    char text[11];
    char *digit = text + sizeof text - 1;
    *digit = 0;
    do {
        *--digit = (char)('0' + number % 10u);
        number /= 10u;
    } while (number);
    link_text(link, digit);
}

void link_hex(struct link *link, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    while (size--) {
        put(link, digits[*bytes >> 4]);
        put(link, digits[*bytes++ & 15]);
    }
}

void link_hex32(struct link *link, uint32_t number)
{
    uint8_t bytes[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
                        (uint8_t)number};
    link_hex(link, bytes, sizeof bytes);
}

void link_begin(struct link *link)
{
    link->crc = ~UINT32_C(0);
    if (link->framed) {
        link_number(link, link->number);
        put(link, ':');
    }
}

void link_end(struct link *link)
{
    uint32_t crc = ~link->crc;
    if (link->framed) {
        link->write('*');
        link_hex32(link, crc);
    }
    link->write('\r');
    link->write('\n');
}
