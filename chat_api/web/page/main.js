// The page's parts are made and joined here.
