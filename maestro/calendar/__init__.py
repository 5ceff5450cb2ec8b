"""Business calendars: which days are business days, by country, by the firm's own list and by weekend."""
